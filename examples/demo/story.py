"""The demo from its beginning to its end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from acts import attach, build, delete, prove, reach
from crash import crash
from keep import look_around
from policies import policies
from screen import Screen
from stage import Stage, staged

from cnidaria.cni.errors import CniError

FAULTS = (CniError, OSError, RuntimeError, subprocess.SubprocessError)
"""What an act can fail by; anything else is a fault of the demo's own and shows its traceback."""


def tell(mode: str, nodes: int, pods: int, *, keep: bool) -> int:
    """All acts; the exit code."""
    screen = Screen()
    screen.say(screen.paint("bold", f"cnidaria, {mode} mode: {nodes} nodes, {pods} pods"))
    with staged(Stage(screen, mode, nodes, pods)) as stage:
        try:
            _play(stage, (build, attach, reach, policies, crash))
            if keep:
                look_around(stage)
            if stage.pods:
                _play(stage, (delete, prove))
        except KeyboardInterrupt:
            screen.say("stopped; whatever there is ends with the demo")
            return 130
    return screen.verdict()


def _play(stage: Stage, acts: Sequence[Callable[[Stage], None]]) -> None:
    """One act after the other, until one fails."""
    try:
        for act in acts:
            act(stage)
    except FAULTS as error:
        stage.screen.check(False, str(error) or type(error).__name__)
        for node in stage.nodes:
            for line in node.said(1 if node.runs() else 20):
                stage.screen.note(f"{node.name}'s agent: {line}")
