"""The settings of node and controller as one value: what there is to set, by section."""

from agent.economics_settings import EconomicsSettings
from agent.settings import AgentSettings
from cli.kube_settings import KubernetesSettings
from cli.source_settings import DcgmSettings, HoldersSettings, HostSettings
from collectors.prometheus_settings import PrometheusSettings
from collectors.serving_settings import ServingSettings
from collectors.setting import BaseModel, ConfigDict
from controller.scaling.queue_settings import QueueScalingSettings
from controller.scaling.schedule_settings import ScheduleSettings
from controller.settings import ControllerSettings
from exporters.metric_settings import MetricsSettings
from exporters.server_settings import ServerSettings
from ledger.bill_settings import BillSettings
from ledger.budget_settings import BudgetSettings
from ledger.carbon_settings import CarbonSettings
from ledger.ledger_settings import LedgerSettings
from ledger.price_settings import PriceSettings


class Config(BaseModel):
    """Every setting, by section; each section's own docstring says what it is for."""

    # What was found may be a password in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    agent: AgentSettings = AgentSettings()
    server: ServerSettings = ServerSettings()
    metrics: MetricsSettings = MetricsSettings()
    prices: PriceSettings = PriceSettings()
    dcgm: DcgmSettings = DcgmSettings()
    host: HostSettings = HostSettings()
    holders: HoldersSettings = HoldersSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    serving: ServingSettings = ServingSettings()
    economics: EconomicsSettings = EconomicsSettings()
    controller: ControllerSettings = ControllerSettings()
    ledger: LedgerSettings = LedgerSettings()
    bills: BillSettings = BillSettings()
    carbon: CarbonSettings = CarbonSettings()
    budgets: BudgetSettings = BudgetSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    queue_scaling: QueueScalingSettings = QueueScalingSettings()
    prometheus: PrometheusSettings = PrometheusSettings()
