"""The dashboard: an endpoint on the screen, and how to steer it. A client like others.

    actors.api.observer ──news──► reader ──View──► app ──► panes
     its own thread               its own thread    └─orders──► observer

`view`       what a refresh shows: one frozen value; begin here
`chronicle`  makes it of pictures, events and log lines; pure
`alerts`     what needs somebody, and what to do about it; pure
`reader`     the two threads; posts a view each second at most
`app`        screens, keys, commands; `panes/` draws, one file per screen
`steering`   what an order will do, asked before it is given
`table`      a table that draws what is visible and nothing else

Widgets decide nothing and ask nobody: tests post views and compare what is drawn.
Run it with `actors tui DIR` or `python -m tui DIR`.
"""
