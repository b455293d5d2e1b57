"""Settings x devices x cards -> Plan. Pure functions, no I/O."""

from ullage.plan.planner import Plan, ServicePlan, plan_service, plan_stack
from ullage.plan.profile import Ledger, Profile

__all__ = ["Ledger", "Plan", "Profile", "ServicePlan", "plan_service", "plan_stack"]
