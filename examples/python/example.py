"""Asks the demo accounts of ``ambit serve --demo``, and says what came.

    python example.py [HOST:PORT]
"""

import os
import sys
import uuid

from ambit_client import AmbitError, Client, Session

from ambit.v1 import change_pb2


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    client = Client(target, os.environ.get("TOKEN_FILE"), os.environ.get("CA_FILE"))
    session = Session()

    allowed = client.check(session, "northwind", "lena", "contact", "edit", "bosch")
    print(f"lena edits bosch: {'allow' if allowed.allowed else 'deny'} {allowed.reason}")

    denied = client.check(session, "northwind", "pierre", "email", "view", "spring-dach")
    print(f"pierre views spring-dach: {'allow' if denied.allowed else 'deny'} {denied.reason}")
    print(f"to be shown as {denied.presentation}, to be asked for as {denied.requestable}")

    ids = client.list_accessible(session, "northwind", "pierre", "email", "view")
    print(f"pierre views the emails {', '.join(sorted(ids))}")

    # A new contact of lena's. The check after it sees it, whichever replica answers.
    contact = f"py-{uuid.uuid4()}"
    change = change_pb2.Change(
        put_resource=change_pb2.ResourcePatch(
            resource_type="contact", id=contact, owners=change_pb2.IdList(ids=["lena"])
        )
    )
    before = client.check(session, "northwind", "lena", "contact", "edit", contact)
    revision = client.apply(session, "northwind", [change], contact)
    again = client.apply(session, "northwind", [change], contact)
    after = client.check(session, "northwind", "lena", "contact", "edit", contact)
    print(f"a new contact: {before.reason}, then {after.reason}")
    print(f"written once: {revision == again}")

    try:
        client.check(session, "northwind", "lena", "contact", "juggle", "bosch")
    except AmbitError as error:
        print(f"juggling: {error.code.name} {error.reason}")
    try:
        if client.check(session, "northwind", "pierre", "email", "view", "spring-dach"):
            print("a denial was taken for a pass")
    except TypeError as error:
        print(f"careless: {error}")
    client.close()


if __name__ == "__main__":
    main()
