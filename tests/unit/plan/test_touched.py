"""Which events are of interest, and when they are looked at."""

from __future__ import annotations

from cnidaria.kernel.events import LOST, Event
from cnidaria.plan.objects import Address, Neighbour, NftSet, NftTable, Object, Route, Veth
from cnidaria.plan.touched import EVERYTHING, LATEST, QUIET, RETRY, Agenda, Touched

VETH = Veth("cnd1", peer="eth0", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02")
ROUTE = Route("10.1.0.1/32", dev="cnd1", scope="link")
OTHER = Route("10.1.0.2/32", dev="cnd2", scope="link")
NEIGHBOUR = Neighbour("cnd1", "10.1.0.1", VETH.peer_mac)
TABLE = NftTable("cnidaria")
PODS = NftSet("cnidaria", "pods", type=("ipv4_addr",))
ELEMENT = PODS.elements("10.1.0.1")
ALL: tuple[Object, ...] = (VETH, ROUTE, OTHER, NEIGHBOUR, TABLE, PODS, ELEMENT)


def hit(*events: Event, fresh: bool = False) -> set[Object]:
    touched = Touched()
    for event in events:
        touched.add(event)
    return {obj for obj in ALL if touched.hits(obj, fresh=fresh)}


def test_a_removed_route_is_of_interest_itself() -> None:
    assert hit(Event(ROUTE.key, removed=True, ours=True)) == {ROUTE}


def test_what_we_add_is_not() -> None:
    assert hit(Event(ROUTE.key, ours=True)) == set()
    assert hit(Event(ROUTE.key, ours=False)) == {ROUTE}


def test_a_link_stands_for_what_is_on_it() -> None:
    on_it = {VETH, ROUTE, NEIGHBOUR}
    assert hit(Event(VETH.key, removed=True)) == on_it
    assert hit(Event(VETH.key)) == on_it
    assert hit(Event(VETH.key), fresh=True) == set()
    assert hit(Event(VETH.key, removed=True), fresh=True) == on_it


def test_routes_go_with_an_address_without_a_word() -> None:
    address = Address("cnd1", "192.0.2.1/24")
    assert hit(Event(address.key, removed=True)) == {VETH, ROUTE, NEIGHBOUR}


def test_a_table_stands_for_all_in_it() -> None:
    assert hit(Event(TABLE.key)) == {TABLE, PODS, ELEMENT}
    assert hit(Event(("nft_table", "inet", "cnidaria-other"))) == set()


def test_lost_events_may_have_been_anything() -> None:
    assert hit(LOST) == set(ALL)


GONE = Event(ROUTE.key, removed=True, ours=True)
START = 1000.0


def rested() -> Agenda:
    """An agenda that has looked at everything at its start."""
    agenda = Agenda(START)
    assert agenda.take(START + QUIET).everything
    agenda.retry(Touched(), START + QUIET)
    return agenda


def test_events_are_looked_at_when_it_is_quiet() -> None:
    agenda, now = rested(), START + 10
    agenda.happened([GONE], now)
    assert not agenda.take(now)
    agenda.happened([Event(OTHER.key, removed=True)], now + QUIET / 2)
    assert not agenda.take(now + QUIET)
    touched = agenda.take(now + 2 * QUIET)
    assert touched.hits(ROUTE)
    assert touched.hits(OTHER)
    assert not agenda.take(now + 3 * QUIET)


def test_a_storm_does_not_keep_it_from_looking() -> None:
    agenda, now = rested(), START + 10
    end = now + LATEST + QUIET
    looked = 0
    while now < end:
        agenda.happened([GONE], now)
        looked += bool(agenda.take(now))
        now += QUIET / 2
    assert looked == 1
    assert QUIET + LATEST < 1.0


def test_nothing_happens_when_nothing_of_interest_does() -> None:
    agenda = rested()
    agenda.happened([Event(ROUTE.key, ours=True)], START + 10)
    assert not agenda.take(START + 20)
    assert agenda.due() == START + EVERYTHING
    assert agenda.take(START + EVERYTHING).everything
    assert agenda.due() == START + 2 * EVERYTHING


def test_what_fails_is_tried_less_and_less_often() -> None:
    agenda, now = rested(), START + 1
    waits = []
    agenda.retry(Touched(keys={ROUTE.key}), now)
    for _ in range(8):
        due = agenda.due()
        waits.append(due - now)
        touched = agenda.take(due)
        assert touched.hits(ROUTE)
        agenda.retry(Touched(keys={ROUTE.key}), due)
        now = due
    assert waits[0] == RETRY[0]
    assert waits == sorted(waits)
    assert max(waits) == RETRY[1]
    agenda.take(agenda.due())
    agenda.retry(Touched(), now)
    agenda.retry(Touched(keys={ROUTE.key}), now)
    assert agenda.due() == now + RETRY[0]


def test_what_is_too_fresh_is_looked_at_once_more() -> None:
    agenda, now = rested(), START + 1
    agenda.later(Touched(keys={ROUTE.key}), now + 0.5)
    agenda.later(Touched(keys={OTHER.key}), now + 0.7)
    assert not agenda.take(now + 0.4)
    assert agenda.due() == now + 0.5
    touched = agenda.take(now + 0.5)
    assert touched.hits(ROUTE)
    assert touched.hits(OTHER)
    assert agenda.due() == START + EVERYTHING
