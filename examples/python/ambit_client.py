"""A small client of Ambit for Python services: copy it, it is meant to be yours.

It fails closed: ``check`` answers a ``Decision`` or raises, and a ``Decision`` has no truth value of
its own, so that ``if client.check(...)`` can't let everybody in.
"""

from __future__ import annotations

import json
import pathlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import stubs  # noqa: F401  makes the modules below

from ambit.v1 import consistency_pb2, decision_pb2, decision_pb2_grpc, directory_pb2
from ambit.v1 import directory_pb2_grpc

# What is safe to repeat is repeated by grpc itself, before there is an answer and never after. A write
# is not among it: repeat one yourself, under an idempotency key.
SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "ambit.v1.DecisionService"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
)


class AmbitError(Exception):
    """Why there is no answer. Never a decision."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str) -> None:
        super().__init__(f"{message} [{reason or code.name}]")
        self.code = code
        # One of the closed list of docs/api.md; empty where no server of ours answered.
        self.reason = reason

    @classmethod
    def of(cls, error: grpc.RpcError) -> AmbitError:
        reason = ""
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == "ambit":
                reason = info.reason
        return cls(error.code(), reason, error.details())


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str
    requestable: str
    presentation: str
    revision: str

    def __bool__(self) -> bool:
        raise TypeError("say decision.allowed: a decision is not its own answer")


class TokenFile(grpc.AuthMetadataPlugin):
    """The bearer token of a file, read for each call, so that it may be exchanged at any time."""

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._path.read_text().strip()}"),)

    def __call__(self, context, callback) -> None:
        try:
            callback(self.metadata(), None)
        except OSError as error:
            callback((), error)


class Session:
    """The last revision that was met, for each account: sent along, no answer is older.

    Revisions are opaque, so the last one counts. Calls of one session come one after another; where
    they overlap, use a session for each thread of work and hand its revision on.
    """

    def __init__(self) -> None:
        self._met: dict[str, str] = {}
        self._lock = threading.Lock()

    def met(self, account: str, revision: str) -> None:
        if revision:
            with self._lock:
                self._met[account] = revision

    def consistency(self, account: str) -> consistency_pb2.Consistency | None:
        with self._lock:
            revision = self._met.get(account)
        return consistency_pb2.Consistency(at_least_as_fresh=revision) if revision else None


class Client:
    def __init__(
        self,
        target: str,
        token_file: str | None = None,
        ca_file: str | None = None,
        timeout_seconds: float = 10,
    ) -> None:
        options = [("grpc.service_config", SERVICE_CONFIG)]
        self._token = TokenFile(token_file) if token_file else None
        self._timeout = timeout_seconds
        if ca_file is None:
            # Only on this machine, or where a mesh encrypts: the token goes along as it is.
            self._channel = grpc.insecure_channel(target, options)
            self._metadata = self._token.metadata if self._token else tuple
        else:
            credentials = grpc.ssl_channel_credentials(pathlib.Path(ca_file).read_bytes())
            if self._token:
                credentials = grpc.composite_channel_credentials(
                    credentials, grpc.metadata_call_credentials(self._token)
                )
            self._channel = grpc.secure_channel(target, credentials, options)
            self._metadata = tuple
        self._decisions = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self._directory = directory_pb2_grpc.DirectoryServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def check(
        self,
        session: Session,
        account: str,
        user: str,
        resource_type: str,
        action: str,
        resource: str | None = None,
    ) -> Decision:
        if resource == "":
            # On the wire it would be the question about the tool as a whole.
            raise ValueError("the id of the resource is empty")
        request = decision_pb2.CheckRequest(
            account_id=account,
            user_id=user,
            resource_type=resource_type,
            action=action,
            resource_id=resource or "",
            consistency=session.consistency(account),
        )
        try:
            answer = self._decisions.Check(
                request, timeout=self._timeout, metadata=self._metadata()
            )
        except grpc.RpcError as error:
            raise AmbitError.of(error) from error
        session.met(account, answer.revision)
        if answer.decision not in (decision_pb2.DECISION_ALLOW, decision_pb2.DECISION_DENY):
            raise AmbitError(grpc.StatusCode.UNKNOWN, "", "the answer has no decision")
        return Decision(
            allowed=answer.decision == decision_pb2.DECISION_ALLOW,
            reason=answer.reason,
            requestable=decision_pb2.Requestable.Name(answer.requestable),
            presentation=decision_pb2.Presentation.Name(answer.presentation),
            revision=answer.revision,
        )

    def list_accessible(
        self, session: Session, account: str, user: str, resource_type: str, action: str
    ) -> Iterator[str]:
        """Every id, as they come. It is complete where it ends without an error, and only there."""
        request = decision_pb2.ListAccessibleRequest(
            account_id=account,
            user_id=user,
            resource_type=resource_type,
            action=action,
            consistency=session.consistency(account),
        )
        total, came = None, 0
        try:
            for chunk in self._decisions.ListAccessible(request, metadata=self._metadata()):
                if total is None:
                    total = chunk.total
                    session.met(account, chunk.revision)
                came += len(chunk.ids)
                yield from chunk.ids
        except grpc.RpcError as error:
            raise AmbitError.of(error) from error
        if came != total:
            raise AmbitError(grpc.StatusCode.UNKNOWN, "", f"the list has {came} of {total}")

    def apply(self, session: Session, account: str, changes: list, idempotency_key: str) -> str:
        """Makes the changes once, however often it is called with this key within 24 hours."""
        request = directory_pb2.ApplyChangesRequest(
            account_id=account, changes=changes, idempotency_key=idempotency_key
        )
        try:
            answer = self._directory.ApplyChanges(
                iter([request]), timeout=self._timeout, metadata=self._metadata()
            )
        except grpc.RpcError as error:
            raise AmbitError.of(error) from error
        session.met(account, answer.revision)
        return answer.revision
