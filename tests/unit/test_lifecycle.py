import pytest

from pinnace.engine.containers.lifecycle import _TABLE, COMMANDS, STATUSES, check
from pinnace.errors import Conflict, Internal, NotModified, PinnaceError


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status", STATUSES)
def test_every_cell_of_the_table_answers(command, status):
    cell = _TABLE[command][status]
    if cell is None:
        check(status, command, id="i" * 64, name="web")
        return
    with pytest.raises(PinnaceError) as caught:
        check(status, command, id="i" * 64, name="web")
    assert type(caught.value) is cell[0]
    assert "{" not in caught.value.message


def test_starting_a_running_container_changes_nothing():
    with pytest.raises(NotModified):
        check("running", "start", id="x", name="web")


def test_a_paused_container_must_be_unpaused_before_start():
    with pytest.raises(Conflict, match="cannot start a paused container, try unpause instead"):
        check("paused", "start", id="x", name="web")


def test_unpausing_what_is_not_paused_is_dockerds_500():
    with pytest.raises(Internal, match="Container x is not paused"):
        check("running", "unpause", id="x", name="web")


def test_kill_of_a_stopped_container_names_it():
    with pytest.raises(Conflict, match="cannot kill container: web: container x is not running"):
        check("exited", "kill", id="x", name="web")
