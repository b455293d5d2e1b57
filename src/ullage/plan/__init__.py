"""Settings x devices x cards -> Plan. Pure functions, no I/O."""

from ullage.plan.ladder import ladder, listed, profile_hash
from ullage.plan.planner import Plan, ServicePlan, plan_service, plan_stack
from ullage.plan.profile import Ledger, Profile

__all__ = ["Ledger", "Plan", "Profile", "ServicePlan", "ladder", "listed", "plan_service", "plan_stack",
           "profile_hash"]
