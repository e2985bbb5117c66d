"""What PostgreSQL refuses, told without a statement or a value.

The server's message, detail and context repeat cells ("Failing row contains ..."), so nothing of
them is used: SQLSTATE, its condition's name and names of tables, columns and constraints are.
"""

from typing import TYPE_CHECKING, Final

from clinical_ai.errors import NeedsOperator, PlatformError, Transient

if TYPE_CHECKING:
    import psycopg2

# Connection lost or refused, too many connections, serialization, deadlock, lock not available,
# query canceled (a time-out), the server stopping, crashing, starting, ending an idle session.
_TRANSIENT: Final = frozenset(
    {"53300", "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05"}
)
_REMEDIES: Final = {
    "23": "correct the rows or the constraint",
    "28": "correct user and password of the database URL",
    "42501": "grant the role what it needs, as owner of the object",
    "42P01": "make the table first; `clinical-ai verify` tells which are missing",
    "53100": "free space on the disk of the database",
    "53200": "give the database server more memory",
    "22": "correct the values or the types of the columns",
    "3D": "create the database, or correct its name in the database URL",
}
_LOOK_UP: Final = "look the SQLSTATE up in appendix A of PostgreSQL's manual"
# libpq gives no SQLSTATE for a connection that was refused: here the text alone can tell.
# Anything else, a server in another language too, is taken for an outage.
_REFUSED: Final = {
    "password authentication failed": _REMEDIES["28"],
    "no password supplied": _REMEDIES["28"],
    "authentication failed": _REMEDIES["28"],
    "is not permitted to log in": "give the role LOGIN, or use another one",
    "root certificate file": "correct sslrootcert in the database URL",
    "does not exist": "create role and database, or correct the database URL",
    "no pg_hba.conf entry": "allow this host in the server's pg_hba.conf",
    "permission denied for database": "grant the role CONNECT on the database",
    "certificate verify failed": "name the right authority with sslrootcert in the URL",
    "does not support SSL": "switch TLS on in the server, or correct sslmode in the URL",
    "invalid connection option": "remove the option that libpq does not know from the URL",
    "invalid sslmode value": "correct sslmode in the database URL",
}


def translated(met: "psycopg2.Error", place: str) -> PlatformError:
    """The error of a statement, or of a connection that broke under it."""
    import psycopg2

    state = met.pgcode
    if state is None:
        if isinstance(met, (psycopg2.OperationalError, psycopg2.InterfaceError)):
            return Transient(f"the connection to PostgreSQL at {place} broke")
        return NeedsOperator(
            f"PostgreSQL at {place} was not asked: the driver refused a parameter",
            "give values of types that PostgreSQL knows",
        )
    text = f"PostgreSQL at {place}: {state} {_condition(state)}{_named(met)}"
    if state.startswith("08") or state in _TRANSIENT:
        return Transient(text)
    return NeedsOperator(text, _REMEDIES.get(state) or _REMEDIES.get(state[:2]) or _LOOK_UP)


def unreachable(met: "psycopg2.Error", place: str) -> PlatformError:
    """The error of a connection that did not come about; its text holds no value and no password.

    The password is handed over beside the address, so libpq cannot take it for something else.
    """
    lines = str(met).strip().splitlines() or [""]
    told = [line for line in lines if "failed: " in line] or lines[:1]
    reason = told[-1].rpartition("failed: ")[2][:200]
    for text, remedy in _REFUSED.items():
        if text in reason:
            return NeedsOperator(f"PostgreSQL at {place} refuses: {reason}", remedy)
    return Transient(f"PostgreSQL at {place} cannot be reached: {reason}")


def _condition(state: str) -> str:
    from psycopg2 import errorcodes

    try:
        return errorcodes.lookup(state).lower()
    except KeyError:  # newer than the driver, or made by a function of the database
        return "condition without a name"


def _named(met: "psycopg2.Error") -> str:
    found = {
        "table": met.diag.table_name,
        "column": met.diag.column_name,
        "constraint": met.diag.constraint_name,
    }
    told = ", ".join(f"{kind} {name}" for kind, name in found.items() if name)
    return f" ({told})" if told else ""
