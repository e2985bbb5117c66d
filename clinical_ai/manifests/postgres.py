"""PostgreSQL's configuration on one machine."""

from typing import Final

MAJOR: Final = "18"

# An ERROR of PostgreSQL repeats what it was given (`invalid input syntax for type ...: "<cell>"`),
# so errors never reach its log: the client gets them. LOG ranks between ERROR and FATAL.
_SETTINGS: Final = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "password_encryption": "'scram-sha-256'",
    "log_destination": "'stderr'",
    "logging_collector": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "'none'",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
    "log_line_prefix": "'%m [%p] '",
    "max_connections": "60",
    "shared_buffers": "'64MB'",
    "max_wal_size": "'512MB'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}

# Only passwords, only from this machine.
ACCESS: Final = """\
host all all 127.0.0.1/32 scram-sha-256
"""


def configuration(port: int) -> str:
    """The text of postgresql.conf."""
    lines = [f"port = {port}", *(f"{name} = {value}" for name, value in _SETTINGS.items())]
    return "\n".join(lines) + "\n"
