"""`ullage deploy systemd`: a unit that starts the stack at boot, stops it in order, and again after a fall."""

from __future__ import annotations

import sys
from pathlib import Path

from ullage.errors import OUTCOMES, DoesNotFit, ModelError, SettingsError
from ullage.plan import Plan
from ullage.settings import Settings
from ullage.stack.services import drain_s

START_S = 600
STOP_MARGIN_S = 60


def systemd_unit(plan: Plan, settings: Settings, *, user: str, config: Path | None) -> str:
    """The unit's text. What no second start would mend (settings, memory, model files) is not started again."""
    stop_s = int(max(drain_s(planned.service, settings) for planned in plan.services)) + STOP_MARGIN_S
    hopeless = " ".join(str(OUTCOMES[kind].exit_code) for kind in (SettingsError, DoesNotFit, ModelError))
    command = [str(Path(sys.executable)), "-m", "ullage", *(["--config", str(config.absolute())] if config else []),
               "up"]
    folders = " ".join(str(folder.absolute()) for folder in (settings.state_dir, settings.cache_dir))
    return f"""\
[Unit]
Description=ullage, the RAG stack of this machine
Wants=network-online.target
After=network-online.target nvidia-persistenced.service
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
User={user}
UMask=0077
Environment=ULLAGE_LOG_FORMAT=json
Environment=ULLAGE_STATE_DIR={settings.state_dir.absolute()}
Environment=ULLAGE_CACHE_DIR={settings.cache_dir.absolute()}
EnvironmentFile=-/etc/ullage/environment
ExecStart={" ".join(_quoted(word) for word in command)}
KillMode=mixed
TimeoutStartSec={START_S}
TimeoutStopSec={stop_s}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus={hopeless}
LimitNOFILE=65536
MemoryMax={plan.budget_bytes + (plan.budget_bytes >> 3)}
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={folders}

[Install]
WantedBy=multi-user.target
"""


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
