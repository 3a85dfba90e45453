from pinnace.api.http.access import AccessPolicy
from pinnace.api.http.head import ListenerInfo
from pinnace.api.http.peer import Peer

TCP = ListenerInfo("tcp", tls=False, name="tcp://0.0.0.0:4243")
STRANGER = Peer(uid=None, cert_cn=None, address="192.0.2.7")


def test_a_stranger_is_refused_unless_the_network_was_opened_by_name():
    assert AccessPolicy().admit(STRANGER, TCP) is not None
    assert AccessPolicy(open_network=True).admit(STRANGER, TCP) is None
