"""Our own HTTP/1.1 connection handling; knows nothing of containers.

`listeners.listen` opens an address and calls one application coroutine per request with an
`exchange.Exchange`: the request (`head`), its body (`body`), and one answer, which is a response,
a stream, a hijacked byte stream (`hijack`) or a websocket (`websocket`). `connection` drives one
client; `tls` sits below it; `access` and `peer` decide who may speak at all.

Bytes of the client are checked by pure functions (`head`, `body`), and what two parsers could
read in two ways is refused. Answers are rendered by pure functions too (`answer`).
"""
