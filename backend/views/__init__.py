"""What the gateway answers and the client reads, typed. Plain data: importing this costs nothing.

Times are seconds since the epoch, durations seconds, sizes bytes. Readers ignore keys they do not know, so that a
newer gateway may say more.

    tasks.py     one task, lists of them, what they log, measure and write.
    pictures.py  what may be drawn with, and what was drawn.
    pool.py      services and instances, what is decided about them, how they fared and what they cost.
    people.py    accounts, tokens, rights, and what was done by whom.
    reading.py   from an answer to a view and back, and the answer that says what went wrong.
"""

from backend.views.people import (
    AccessView,
    AccountList,
    AccountUsage,
    AccountView,
    AuditEntry,
    AuditList,
    LimitsView,
    SessionView,
    TokenList,
    TokenView,
)
from backend.views.pictures import GenerationView, LoraView, ModelList, ModelView
from backend.views.pool import (
    DecisionList,
    HistoryView,
    InfoView,
    InitLogView,
    InstanceList,
    InstanceView,
    MomentView,
    ScalingView,
    ServiceList,
    ServiceView,
    SpentView,
    UsageView,
    VitalsView,
)
from backend.views.reading import ErrorView, as_json, read
from backend.views.tasks import (
    AttemptView,
    FileList,
    FileView,
    LogPage,
    ProgressView,
    RoomPart,
    RoomView,
    ScalarPage,
    TaskList,
    TaskView,
)

__all__ = [
    "AccessView",
    "AccountList",
    "AccountUsage",
    "AccountView",
    "AttemptView",
    "AuditEntry",
    "AuditList",
    "DecisionList",
    "ErrorView",
    "FileList",
    "FileView",
    "GenerationView",
    "HistoryView",
    "InfoView",
    "InitLogView",
    "InstanceList",
    "InstanceView",
    "LimitsView",
    "LogPage",
    "LoraView",
    "ModelList",
    "ModelView",
    "MomentView",
    "ProgressView",
    "RoomPart",
    "RoomView",
    "ScalarPage",
    "ScalingView",
    "ServiceList",
    "ServiceView",
    "SessionView",
    "SpentView",
    "TaskList",
    "TaskView",
    "TokenList",
    "TokenView",
    "UsageView",
    "VitalsView",
    "as_json",
    "read",
]
