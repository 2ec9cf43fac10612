"""What actors tell of their work, told again: to log and terminal, with the node, and not too often."""

from __future__ import annotations

from resnet_pipe.run.executors.ray.crew import Member
from resnet_pipe.run.executors.ray.messages import Told
from resnet_pipe.run.observe.events import Events


class Telling:
    """Passes events of actors on. What many of them note in the same words is shown once."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._noted: set[str] = set()

    def pass_on(self, member: Member, told: Told) -> None:
        """Pass on what an actor tells."""
        fields = told.fields
        if told.name == "progress":
            member.sources, member.items = fields["sources"], fields["items"]
        elif told.name != "note":
            self._events.tell(told.name, node=member.node, **fields)
        elif fields["text"] in self._noted:
            self._events.log("note", node=member.node, text=fields["text"])
        else:
            self._noted.add(fields["text"])
            self._events.note(f"node {member.node}: {fields['text']}", fields["unusual"])

    def lost(self, member: Member, reason: str) -> None:
        """Tell that an actor is lost; one that had not even started is only logged."""
        if member.node:
            again = "; its chunks are run again" if member.given else ""
            self._events.note(f"node {member.node}: a worker is lost: {reason}{again}", unusual=True)
        else:
            self._events.log("note", text=f"a worker did not start: {reason}")

    def once(self, text: str) -> None:
        """Tell something unusual, unless it has been told before."""
        if text not in self._noted:
            self._noted.add(text)
            self._events.note(text, unusual=True)
