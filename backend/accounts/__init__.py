"""People: accounts, what they may do, what proves that it is they. Pure; the store keeps it (`store/accounts.py`).

`account.py`      an account: its role and its limits
`credentials.py`  passwords and tokens, as they are kept: never themselves
`rights.py`       what whoever asks may do
`ownership.py`    whose a file of the data folder is
"""

from backend.accounts.account import Account, Limits, Role, valid_name
from backend.accounts.rights import Caller

__all__ = ["Account", "Caller", "Limits", "Role", "valid_name"]
