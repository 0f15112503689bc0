"""Resolves the agents of a job file: defaults, environment, secrets, backend, prompt, code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from teamwright.agents.spec import FOREIGN, REGISTRY_TOKEN, Kind
from teamwright.backends import structured
from teamwright.backends.api import Limits
from teamwright.backends.catalog import CATALOG, BackendInfo
from teamwright.backends.loader import BUILT_IN, option_faults
from teamwright.backends.plugins import shadowed
from teamwright.errors import Problem
from teamwright.host.api import RestartPolicy
from teamwright.jobs import mcp_plans, own_code, replica_plans
from teamwright.jobs.backend_choice import DEFAULT, add_command, choose, faults, install_command, installed, unpriced
from teamwright.jobs.keys import missing_key
from teamwright.jobs.merging import KINDS, environments, kinds_of, merge
from teamwright.jobs.modules import Fault, check_class, check_function, hosts_executor, inspect_module
from teamwright.jobs.names import looks_secret, suggestion
from teamwright.jobs.own_code import OWN_INTERPRETER, credential
from teamwright.jobs.plan import AgentPlan, SecretSource
from teamwright.jobs.schema import JobFile
from teamwright.jobs.schema_agent import AgentEntry, Auth, LimitKeys, PromptFile
from teamwright.jobs.secrets import Vault
from teamwright.jobs.source import KeyPath, Source
from teamwright.jobs.validation import check_part

PROMPT_LIMIT = 1_000_000
COST_LIMIT = 5.00


@dataclass
class Findings:
    """What was found wrong and odd while resolving.

    `missing_extras` are those of `problems` that packages cure. `missing_keys` are none of them: without its keys a job
    is a good one, it only can't be started.
    """

    source: Source
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing_extras: list[Problem] = field(default_factory=list)
    missing_keys: list[Problem] = field(default_factory=list)

    def report(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        self.problems.append(self.source.problem(path, message, hint))

    def warn(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        self.warnings.append(str(self.source.problem(path, message, hint)))

    def fault(self, path: KeyPath, fault: Fault | None) -> None:
        """A fault of the user's code: at the code's own line where it has one, else at the key that names it."""
        if fault is not None and fault.file is not None:
            self.problems.append(Problem(fault.message, fault.file, fault.line, hint=fault.hint))
        elif fault is not None:
            self.report(path, fault.message, fault.hint)


@dataclass(frozen=True)
class AgentDraft:
    """One agent before it is wired: `entry` with the defaults merged in, and its place in the file."""

    index: int
    entry: AgentEntry
    plan: AgentPlan
    secrets: Mapping[str, str] = field(repr=False)


class AgentResolver:
    """Resolves all agents of one file; what is wrong goes to `findings`.

    `replay`: the models' words come from a recording, so the backends need neither packages nor keys.
    """

    def __init__(
        self, findings: Findings, vault: Vault, folder: Path, roots: Sequence[str], *, replay: bool = False
    ) -> None:
        self._replay = replay
        self._findings = findings
        self._source = findings.source
        self._vault = vault
        self._folder = folder
        self._roots = roots
        self._defaults: dict[str, Any] = self._source.data.get("defaults") or {}

    def resolve(self, model: JobFile) -> list[AgentDraft]:
        """The agents in file order."""
        self._check_ids(model)
        drafts = []
        for index, raw in enumerate(self._source.data["agents"]):
            path: KeyPath = ("agents", index)
            try:
                entry = AgentEntry.model_validate(merge(self._defaults, raw))
            except ValidationError as error:
                self._findings.problems += check_part(self._source, path, error)
                entry = model.agents[index]
            drafts.append(self._draft(index, entry, raw, path))
        self._check_ports(drafts)
        places = {draft.plan.id: draft.index for draft in drafts}
        for name, agent in replica_plans.clashes(draft.plan for draft in drafts):
            message = f"a replica of {agent!r} is called {name} too"
            self._findings.report(("agents", places[name], "id"), message, "give one of them another id")
        return drafts

    def _draft(self, index: int, entry: AgentEntry, raw: Mapping[str, Any], path: KeyPath) -> AgentDraft:
        kind = self._kind(entry, raw, path)
        thinks = kind in ("class", "declared")
        backend = self._backend(entry, raw, path) if thinks else CATALOG[DEFAULT]
        self._check_code(entry, path)
        self._check_own_code(kind, entry, raw, path)
        if thinks:
            self._check_options(entry, backend, path)
        environment, secrets, sources = self._variables(entry, raw, backend, path)
        if thinks and not self._replay and (missing := missing_key(backend, entry, {**environment, **secrets})):
            place = self._origin(path[1], "backend")
            self._findings.missing_keys.append(self._source.problem(place, *missing))
        servers = self._mcp_servers(entry, thinks, environment, secrets, sources, path)
        plan = AgentPlan(
            id=entry.id,
            kind=kind,
            level=0,
            backend=self._shown(entry, backend) if thinks else kind,
            name=entry.name or "",
            description=entry.description or "",
            version=entry.version or "1.0.0",
            group=entry.group,
            module=entry.module,
            type=entry.type,
            run=entry.run if kind == "run" else None,
            script=tuple(entry.script or ()) if kind == "script" else (),
            command=tuple(entry.command or ()) if kind == "command" else (),
            python=entry.python if kind in OWN_INTERPRETER else None,
            instrument=entry.instrument,
            url=entry.url if kind == "url" else None,
            auth=credential(entry) if kind in FOREIGN else None,
            config=dict(entry.config.model_extra or {}),
            backend_options=entry.backend_options,
            backend_code=backend.origin.reference if backend.origin is not None else "",
            backend_folder=backend.origin.folder if backend.origin is not None else "",
            model=entry.model,
            model_options=entry.model_options,
            login=entry.auth == "login",
            prompt=self._prompt(entry, path),
            tools=tuple(entry.tools),
            skills=tuple(skill.model_dump() for skill in entry.skills),
            output_schema=self._output_schema(entry, path),
            mcp_servers=servers,
            port=entry.config.port,
            replicas=self._replicas(kind, entry, raw, path),
            environment=environment,
            secrets=tuple(sources),
            limits=_limits(entry.limits, backend),
            max_concurrent=entry.max_concurrent,
            queue=entry.queue,
            on_disconnect=entry.on_disconnect,
            push_urls=entry.push_urls,
            restart=RestartPolicy(entry.restart.policy, entry.restart.max, entry.restart.within),
            threads=backend.threads and not self._replay,
            memory=entry.resources.memory,
            cpu=entry.resources.cpu,
        )
        return AgentDraft(index, entry, plan, secrets)

    def _output_schema(self, entry: AgentEntry, path: KeyPath) -> dict[str, Any] | None:
        if entry.output_schema is not None and (fault := structured.schema_fault(entry.output_schema)):
            self._findings.report(self._origin(path[1], "output_schema"), fault)
        return entry.output_schema

    def _replicas(self, kind: Kind, entry: AgentEntry, raw: Mapping[str, Any], path: KeyPath) -> int:
        fault = replica_plans.fault(kind, port=entry.config.port is not None) if entry.replicas > 1 else None
        if fault is not None and raw.get("replicas") is not None:
            self._findings.report((*path, "replicas"), *fault)
        return 1 if fault is not None else entry.replicas  # the defaults' are for those that can have them

    def _check_ids(self, model: JobFile) -> None:
        first: dict[str, KeyPath] = {}
        for index, agent in enumerate(model.agents):
            path: KeyPath = ("agents", index, "id")
            if agent.id in first:
                line = self._source.mark(first[agent.id]).line
                self._findings.report(path, "this id is used twice", f"first at line {line}: ids are unique in a job")
            first.setdefault(agent.id, path)

    def _check_ports(self, drafts: Sequence[AgentDraft]) -> None:
        first: dict[int, AgentDraft] = {}
        for draft in drafts:
            port = draft.entry.config.port
            if port is not None and port in first:
                other = first[port].entry.id
                path = self._origin(draft.index, "config", "port")
                self._findings.report(
                    path, f"port {port} is also that of agent {other!r}", "leave it out to get a free one"
                )
            elif port is not None:
                first[port] = draft

    def _kind(self, entry: AgentEntry, raw: Mapping[str, Any], path: KeyPath) -> Kind:
        kinds = kinds_of(merge(self._defaults, raw))
        if len(kinds) > 1:
            keys = [key for kind in kinds for key in KINDS[kind] if getattr(entry, key) is not None]
            self._findings.report((*path, keys[-1]), f"an agent is of one kind, this one has {', '.join(keys)}")
        if entry.type is not None and entry.module is None:
            self._findings.report((*path, "type"), "type needs module: the module that the class is in")
        if raw.get("python") is not None and not set(OWN_INTERPRETER) & set(kinds):
            self._findings.report((*path, "python"), "python belongs to run: or script:")
        own_config = raw.get("config") if isinstance(raw.get("config"), Mapping) else None
        for key in (own_config or {}) if "class" not in kinds else ():
            if key != "port":
                message = "goes nowhere: only agents with a class (type, module) take config beside port"
                self._findings.report((*path, "config", str(key)), message)
        return cast(Kind, kinds[0] if kinds else "declared")

    def _backend(self, entry: AgentEntry, raw: Mapping[str, Any], path: KeyPath) -> BackendInfo:
        info, message, hint = choose(
            raw.get("backend"), raw.get("model"), self._defaults.get("backend"), self._defaults.get("model")
        )
        key = "backend" if entry.backend is not None and not (info and raw.get("backend") is None) else "model"
        place = self._origin(path[1], key)
        if info is None:
            self._findings.report(place, message or "", hint)
            return CATALOG[DEFAULT]
        if not self._replay and not installed(info):
            message = f"the backend {info.name} needs packages that are not installed"
            problem = self._source.problem(place, message, add_command(info))
            self._findings.problems.append(problem)
            self._findings.missing_extras.append(problem)
        for other in shadowed(info.name):
            self._findings.warn(
                place, f"the built-in backend {info.name} is used, not that of {other.package} {other.version}",
                "it needs another name in its package",
            )  # fmt: skip
        if info.name not in BUILT_IN and info.origin is None:
            self._findings.report(
                place, f"the backend {info.name} is not built yet", f"write backend: {' or '.join(BUILT_IN)}"
            )
        for keys, fault, better in faults(info, entry.model, entry.backend_options):
            self._findings.report(self._origin(path[1], *keys), fault, better)
        dear = unpriced(info, entry.model, entry.backend_options) if entry.limits.cost_usd is not None else None
        if dear is not None:
            self._findings.report(
                self._origin(path[1], "limits", "cost_usd"),
                f"nobody knows what {dear} costs, so this could not be held",
                "take a model that is in the price list, or leave it out",
            )
        return info

    def _check_code(self, entry: AgentEntry, path: KeyPath) -> None:
        if entry.module is not None and entry.type is not None:
            module_fault, class_fault = check_class(entry.module, entry.type, self._roots)
            self._findings.fault(self._origin(path[1], "module"), module_fault)
            self._findings.fault(self._origin(path[1], "type"), class_fault)
        elif entry.module is not None:
            self._findings.fault(self._origin(path[1], "module"), inspect_module(entry.module, self._roots)[1])
        for number, tool in enumerate(entry.tools):
            self._findings.fault(self._origin(path[1], "tools", number), check_function(tool, self._roots))

    def _check_own_code(self, kind: Kind, entry: AgentEntry, raw: Mapping[str, Any], path: KeyPath) -> None:
        """The user's own code and other people's agents: whether it is there, and keys that do nothing for it."""
        for key, fault in own_code.faults(kind, entry, str(self._folder), self._roots, self._vault.get("PATH")):
            self._findings.fault(self._origin(path[1], key), fault)
        for idle in own_code.idle_keys(kind, raw):
            what = "an agent without code of its own" if kind == "declared" else f"a {kind}: agent"
            self._findings.warn((*path, *idle), f"does nothing for {what}")
        seen = kind == "run" and entry.instrument
        if kind in OWN_INTERPRETER and not seen and entry.limits.cost_usd is not None:
            place = self._origin(path[1], "limits", "cost_usd")
            tell = self._findings.report if place[0] == "agents" else self._findings.warn
            who = f"{kind}: agent" if entry.instrument else f"{kind}: agent with instrument: false"
            tell(place, f"what the models cost that a {who} asks by itself is not seen: it would not be held")

    def _shown(self, entry: AgentEntry, backend: BackendInfo) -> str:
        """What thinks in the agent: its class may bring an executor of its own."""
        hosted = entry.module is not None and hosts_executor(entry.module, entry.type, self._roots)
        return "executor" if hosted else backend.name

    def _check_options(self, entry: AgentEntry, backend: BackendInfo, path: KeyPath) -> None:
        """The options of the backend, as the backend itself sees them."""
        given = option_faults(backend.name, entry.backend_options, entry.model_options, str(self._folder))
        for fault in given:
            tell = self._findings.warn if fault.warning else self._findings.report
            tell(self._origin(path[1], *fault.path), fault.message, fault.hint)
        if backend.name == "crewai" and ":" in (crew := str(entry.backend_options.get("crew"))):
            self._findings.fault(self._origin(path[1], "backend_options", "crew"), check_function(crew, self._roots))
        if isinstance(entry.auth, str) and backend.name != "claude":
            self._findings.warn(self._origin(path[1], "auth"), f"does nothing for the backend {backend.name}")

    def _mcp_servers(
        self,
        entry: AgentEntry,
        thinks: bool,
        environment: Mapping[str, str],
        secrets: dict[str, str],
        sources: list[SecretSource],
        path: KeyPath,
    ) -> dict[str, Any]:
        """The agent's MCP servers, checked; their secrets are put to its others."""
        if not entry.mcp_servers:
            return {}
        found = self._vault.get("PATH")
        search = environment.get("PATH") or (found[0] if found else None)
        for keys, fault, hint in mcp_plans.faults(entry.mcp_servers, str(self._folder), search):
            self._findings.report(self._origin(path[1], *keys), fault, hint)
        if thinks and not mcp_plans.installed():
            place = self._origin(path[1], mcp_plans.KEY)
            missing = self._source.problem(
                place, "MCP servers need packages that are not installed", install_command(mcp_plans.EXTRA)
            )
            self._findings.problems.append(missing)
            self._findings.missing_extras.append(missing)
        plain, kept = mcp_plans.apart(
            entry.mcp_servers,
            lambda *keys: self._source.variables.get(self._origin(path[1], mcp_plans.KEY, *keys), ()),
        )
        for name, (value, used) in kept.items():
            secrets[name] = value
            sources.append(SecretSource(name, self._secret_source(used)))
        return plain

    def _prompt(self, entry: AgentEntry, path: KeyPath) -> str:
        if not isinstance(entry.prompt, PromptFile):
            return entry.prompt or ""
        place = self._origin(path[1], "prompt", "file")
        file = self._folder / Path(entry.prompt.file).expanduser()
        try:
            if file.stat().st_size > PROMPT_LIMIT:
                self._findings.report(place, f"{entry.prompt.file} is larger than 1 MB")
                return ""
            return file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            names = [item.name for item in file.parent.iterdir()] if file.parent.is_dir() else []
            self._findings.report(place, f"no file {file}", suggestion(file.name, names))
        except UnicodeDecodeError:
            self._findings.report(place, f"{entry.prompt.file} is not text in UTF-8")
        except OSError as error:
            self._findings.report(place, f"can't read {file}: {error.strerror}")
        return ""

    def _variables(
        self, entry: AgentEntry, raw: Mapping[str, Any], backend: BackendInfo, path: KeyPath
    ) -> tuple[dict[str, str], dict[str, str], list[SecretSource]]:
        """Environment, secrets and their sources. What looks like a key or password is a secret wherever it stands."""
        environment: dict[str, str] = {}
        places: dict[str, KeyPath] = {}
        layers: list[tuple[KeyPath, Mapping[str, str]]] = [
            *((("defaults", *inner), values) for inner, values in environments(self._defaults)),
            (("environment",), self._source.data.get("environment") or {}),
            *(((*path, *inner), values) for inner, values in environments(raw)),
        ]
        for where, values in layers:
            environment.update(values)
            places.update({name: (*where, name) for name in values})
        optional = [name for name in backend.variables if name not in environment and not self._replay]
        wanted = list(entry.env)
        keys: list[KeyPath] = [("env", number) for number in range(len(wanted))]
        if isinstance(entry.auth, Auth) and entry.auth.variable not in wanted:
            wanted.append(entry.auth.variable)
            keys.append(("auth", "variable"))
        if self._source.data.get("registry_url"):
            wanted.append(REGISTRY_TOKEN)
            keys.append(("registry_url",))
        secrets, sources, missing = self._vault.collect(wanted, optional)
        for name in missing if not self._replay else ():
            place = ("registry_url",) if name == REGISTRY_TOKEN else self._origin(path[1], *keys[wanted.index(name)])
            self._findings.report(place, f"the variable {name} is not set", f"export {name}=…, or write it into .env")
        for name in [name for name in environment if name in secrets]:
            del environment[name]
        for name in list(environment):
            used = self._source.variables.get(places[name], ())
            if looks_secret(name) or any(looks_secret(variable) for variable in used):
                secrets[name] = environment.pop(name)
                sources.append(SecretSource(name, self._secret_source(used)))
        return environment, secrets, sources

    def _secret_source(self, used: tuple[str, ...]) -> str:
        """Where a secret of `environment:` came from: the variables in it, else the job file itself."""
        found = filter(None, (self._vault.get(name) for name in used))
        return next((source for _, source in found), self._source.file)

    def _origin(self, index: object, *keys: str | int) -> KeyPath:
        """Where a key of the merged agent stands: in the agent itself, else in the defaults."""
        own: KeyPath = ("agents", cast(int, index), *keys)
        default: KeyPath = ("defaults", *keys)
        return default if own not in self._source.marks and default in self._source.marks else own


def _limits(keys: LimitKeys, backend: BackendInfo) -> Limits:
    given = {name: value for name, value in keys.model_dump().items() if value is not None}
    if backend.paid:
        given.setdefault("cost_usd", COST_LIMIT)
    return Limits(**given)
