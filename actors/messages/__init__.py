"""Everything that travels between processes, and how it becomes bytes.

A *frame* is a msgpack array of messages; a link or door carries frames. One tagged
union per link direction says what may come that way. All are frozen, `array_like`
structs. New fields go last, with a default; a field's type never changes.

    client   -> interchange   FromClient       interchange -> client     ToClient
    manager  -> interchange   FromManager      interchange -> manager    ToManager
    strategy -> interchange   FromStrategy     interchange -> strategy   ToStrategy
    provider -> interchange   FromProvider     interchange -> provider   ToProvider
    operator -> interchange   FromOperator     interchange -> operator   ToOperator
    supervisor -> interchange FromSupervisor   interchange -> supervisor ToSupervisor
    strategy -> provider      ScaleOrder       provider    -> strategy   BlocksReported
    manager  -> worker        ToWorker         worker      -> manager    FromWorker

Before a link there is a door: `Hello` is answered with `Welcome` or `Refused`.
Payloads (function, arguments, result) are bytes that only clients and workers open, or
stand for such bytes in shared memory, see `large`.

Moments in messages are seconds since 1970 by the sender's clock, for people to read;
no decision compares two machines' clocks.

What stands where: `task`, `actor` and `group` (what is spoken of), `link` (the door,
and what anybody says), `client`, `manager`, `block`, `steering` (said on their links),
`event` (published), `worker` and `request` (said on a worker's pipe), `large` (payloads
in shared memory), `frame` (what may come which way, and its bytes), `size` (what is too
large is cut). All of it is imported from here.
"""

from actors.messages.actor import *
from actors.messages.basis import *
from actors.messages.block import *
from actors.messages.client import *
from actors.messages.event import *
from actors.messages.frame import *
from actors.messages.group import *
from actors.messages.large import *
from actors.messages.link import *
from actors.messages.manager import *
from actors.messages.request import *
from actors.messages.size import *
from actors.messages.steering import *
from actors.messages.task import *
from actors.messages.worker import *
