"""From what went wrong to the one error that a runtime sees."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from cnidaria.cni.errors import CniError, Code
from cnidaria.kernel.errors import KernelError
from cnidaria.plan.attachment import Attachment


def as_cni_error(error: Exception, attachment: Attachment) -> CniError:
    """``error`` as the runtime sees it: the kernel's become code 104 or 106."""
    if isinstance(error, CniError):
        return error
    if isinstance(error, KernelError):
        if _is_taken(error, attachment.ifname):
            return CniError(
                Code.INTERFACE_EXISTS,
                f"CNI_IFNAME = {attachment.ifname!r}: the container has an interface of this name",
                str(error),
            )
        return CniError(Code.KERNEL_REFUSED, str(error))
    return CniError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def combine(first: CniError, others: Sequence[Exception]) -> CniError:
    """The first cause, with everything else that failed in the details."""
    if not others:
        return first
    said = dict.fromkeys(one.msg if isinstance(one, CniError) else str(one) for one in others)
    said.pop(first.msg, None)
    more = f"and then: {'; '.join(said)}" if said else ""
    details = "; ".join(text for text in (first.details, more) if text)
    return CniError(first.code, first.msg, details)


def _is_taken(error: KernelError, ifname: str) -> bool:
    """Whether it is the interface in the pod that is there already, not the host's end."""
    return (
        error.errno == errno.EEXIST
        and error.object is not None
        and ("pod", ifname) in error.object.ends()
        and error.name == ifname
    )
