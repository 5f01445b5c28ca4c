"""The loop that runs one actor: everything that a machine only decides is done here.

    sources (links, door, pool, inbox) ──drain──► mailbox ──► machine ──► turns
       turns: 1. records written, at one go       2. messages sent, a frame per peer
              3. events published                 4. effects carried out
              (if there are eager messages only, the records wait for company)
       later: promises sent, all that stand on the records that one sync has secured

One thread, one epoll, nothing that blocks but a disk that is full. All messages to one
peer that one round of the loop brings forth travel in one frame: batches form by
themselves when there is much to do, and nobody waits for a batch to fill.

Read `loop` first. What comes in goes through the `mailbox`; records and what stands on
them are the business of `saving`. Peers have `ports`, whose frames are made by
`outgoing`; others come to us by `serving`, we go to them by `dialing`, where
`missing_doors` are waited for.
"""

from actors.runtime.dialing import Dialing
from actors.runtime.loop import Runtime, Shell
from actors.runtime.saving import Recorder
from actors.runtime.serving import Serving

__all__ = ["Dialing", "Recorder", "Runtime", "Serving", "Shell"]
