# SPDX-License-Identifier: Apache-2.0
"""A whole study on one machine: population, suppliers, rounds, estimates, outputs.

Every step leaves its result in the run's folder and is skipped when it is there, so that a run that was killed anywhere
continues where it stopped. Nothing is random but by the run's seed.
"""

import dataclasses
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import msgspec

from skyglow_client.supplier import Supplier
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator, Outcome
from skyglow_server.disclosure import Check
from skyglow_server.draft import draft
from skyglow_server.estimation import PLANNING, AreaTable, Estimate, Planning, estimate, load_areas, load_selection
from skyglow_server.federation import Federation, InProcess
from skyglow_server.publication.release import SELECTION
from skyglow_server.refusals import refusal_error
from skyglow_shared.errors import RunError
from skyglow_shared.files import write_atomically
from skyglow_shared.layout import all_round_numbers
from skyglow_shared.messages import Refusal, StudyRequest, open_reply, seal_request
from skyglow_shared.models import features
from skyglow_shared.privacy.accounting import plan, study_cost
from skyglow_shared.signing import STUDY, Identity
from skyglow_shared.soundness import check, decode_study
from skyglow_shared.study import Aggregation, Study, canonical_bytes, digest
from skyglow_shared.study import Supplier as RosterEntry
from skyglow_shared.vocabulary import TrustMode
from skyglow_simulations import suppliers
from skyglow_simulations.population import census as census_tables
from skyglow_simulations.population import generate, survey, trial_city
from skyglow_simulations.population import trial as trials
from skyglow_simulations.population.census import Census
from skyglow_simulations.population.frame import FRAMES
from skyglow_simulations.population.trial import Trial
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder, Parameters

Progress = Callable[[str, int, int], None]

#: What a study that is tried in trust mode `aggregate` withstands.
WITHSTOOD = Aggregation(dropouts=1, colluders=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds spent in each phase and the peak of memory, kept in a file over resumed runs."""

    path: Path

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase; what a killed process spent within it is not known."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.seconds
            seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - begun, 3)
            write_atomically(self.path, json.dumps(seconds, indent=1).encode())

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase so far."""
        if not self.path.exists():
            return {}
        return {str(name): float(value) for name, value in json.loads(self.path.read_text()).items()}


@dataclass(frozen=True, slots=True)
class Experiment:
    """One run, ready to be carried out."""

    folder: Folder
    parameters: Parameters
    census: Census
    study: Study
    progress: Progress
    clock: Clock
    trial: Trial | None = None

    @property
    def planning(self) -> Planning:
        """The office's planning constants; on a trial's few homes they count each home once."""
        if self.trial is None:
            return load_selection(self.selection) if self.selection.exists() else PLANNING
        split = self.trial.split(self.parameters.seed)
        return dataclasses.replace(PLANNING, class_distinct_homes=self.trial.distinct_homes(split))

    @property
    def selection(self) -> Path:
        """The public table of who has a smart meter and who answers; not there where it is all homes alike."""
        return self.folder.reference / SELECTION

    @property
    def office(self) -> Identity:
        """The simulated office's signing key."""
        return office(self.parameters)

    def budget(self) -> dict[str, float]:
        """Epsilon that each supplier will have been charged once each phase is complete, by phase."""
        events = plan(self.study, all_round_numbers(self.study))
        return {
            phase.name: study_cost(events[: number + 1], self.study.delta).epsilon_upper
            for number, phase in enumerate(self.study.phases)
        }

    def prepare(self) -> None:
        """Keep the study, make the population and let every supplier load its readings."""
        if not self.folder.study.exists():
            write_atomically(self.folder.study, canonical_bytes(self.study))
        if self.trial is not None:
            with self.clock.phase("population"):
                self.introduce()
                trial_city.populate(self.census, self.trial, self.study, self.folder, self.parameters)
            return
        with self.clock.phase("population"):
            generate.generate(
                self.census,
                out=self.folder.path,
                period=self.study.period,
                scale=self.parameters.scale,
                seed=self.parameters.seed,
                panel_fraction=self.parameters.panel_fraction,
                gaps=FRAMES[self.parameters.frame],
                workers=self.parameters.workers,
                progress=self.progress,
            )
            survey.tell(self.selection, FRAMES[self.parameters.frame])
        with self.clock.phase("readings"):
            self.introduce()
            suppliers.load_readings(self.folder, self.parameters, self.study, partial(self.progress, "readings"))

    def introduce(self, *, pseudonym_seed: int | None = None) -> None:
        """Give every supplier its keys and a policy that knows the office; `pseudonym_seed` keeps an older store's."""
        suppliers.set_up(self.folder, self.parameters, self.study, pseudonym_seed)

    def approve(self) -> None:
        """Propose the study to every supplier and have each approve it, as a person there would."""
        body = canonical_bytes(self.study)
        proposal = StudyRequest(study=body, signature=self.office.sign(STUDY, body))
        request = seal_request(proposal, self.office)
        for number, entry in enumerate(self.study.suppliers):
            self.progress("approval", number, len(self.study.suppliers))
            with suppliers.open_supplier(self.folder, entry.name, self.parameters.seed) as supplier:
                reply = open_reply(supplier.handle(request), entry.name, entry.public_key)
                if isinstance(reply, Refusal) and reply.rule == "approval":
                    supplier.approve(digest(self.study))
                elif isinstance(reply, Refusal):
                    raise refusal_error(entry.name, reply)
        self.progress("approval", len(self.study.suppliers), len(self.study.suppliers))

    def run_study(self) -> Outcome:
        """Run the study's rounds on the engine of the run's parameters."""
        checkpoints = Checkpoints.in_file(self.folder.office / "checkpoints.sqlite")

        def drive(federation: Federation) -> Outcome:
            return Coordinator(self.study, self.office, federation, checkpoints, self.progress).run()

        with self.clock.phase("rounds"):
            if self.parameters.engine == "flower":
                return suppliers.on_flower(self.folder, self.parameters, drive)
            with opened(self.folder, self.parameters) as held:
                return drive(InProcess({name: supplier.handle for name, supplier in held.items()}))

    def areas(self) -> AreaTable:
        """The public table of areas."""
        return load_areas(self.folder.reference / "areas.csv", self.study)

    def estimate(self, outcome: Outcome, record: Sequence[Check] | None = None) -> tuple[Estimate, ...]:
        """Turn the outcome's sums into estimates that may be published, under a record of checks if there is one."""
        with self.clock.phase("estimation"):
            return estimate(self.study, self.areas(), outcome.sums, planning=self.planning, record=record)


def begin(folder: Folder, parameters: Parameters, progress: Progress) -> Experiment:
    """Read the census, draft the study and be ready to run.

    The study is kept in the run's folder: a run that is resumed asks what it asked before, whatever has become of the
    template since.

    Raises
    ------
    SkyglowError
        The district, the tables or the study cannot be used; the message says what to do.
    """
    census = census_tables.load(parameters.district, Path(parameters.census) if parameters.census else None)
    roster = [
        RosterEntry(name=name, public_key=SeededRandomness(parameters.seed, name).identity().public_key)
        for name in suppliers.NAMES
    ]
    key = office(parameters).public_key
    trial = trials.load(Path(parameters.trial), parameters.mapping) if parameters.trial else None
    if trial is not None:
        features.install(trial.contract)
    study = decode_study(folder.study.read_bytes()) if folder.study.exists() else None
    if study is None or study.office_key != key:  # a replicate in the same folder has an office of its own
        template = _template(parameters.study)
        study = draft(template, areas=census.areas, office_key=key, suppliers=roster, scale=parameters.scale)
        if trial is not None:
            study = trial_city.ask(study, trial, parameters.label)
        if parameters.trust:
            study = trusting(study, parameters.trust)
    return Experiment(folder, parameters, census, study, progress, Clock(folder.path / "seconds.json"), trial)


def drafted(parameters: Parameters) -> tuple[Census, Study]:
    """What a run would begin with, the census of its areas and its study, without a run."""
    with tempfile.TemporaryDirectory() as scratch:
        one = begin(Folder(Path(scratch)), parameters, lambda phase, done, total: None)
    return one.census, one.study


def office(parameters: Parameters) -> Identity:
    """The simulated office's signing key."""
    return SeededRandomness(parameters.seed, "office").identity()


@contextmanager
def opened(folder: Folder, parameters: Parameters) -> Iterator[Mapping[str, Supplier]]:
    """Open every simulated supplier in this process."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(suppliers.open_supplier(folder, name, parameters.seed))
            for name in suppliers.NAMES
        }


def peak_memory_mib() -> int:
    """Largest resident memory so far of this process and of its children, added."""
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage) // 1024


def trusting(study: Study, mode: TrustMode) -> Study:
    """The same study in a trust mode; one that was not in ``aggregate`` withstands there what `WITHSTOOD` says."""
    if mode != study.trust_mode:
        withstood = WITHSTOOD if mode == "aggregate" else None
        study = msgspec.structs.replace(study, trust_mode=mode, aggregation=withstood)
    check(study)
    return study


def _template(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    built_in = {
        path.stem: path for path in Path(str(resources.files("skyglow_simulations") / "studies")).glob("*.toml")
    }
    if name not in built_in:
        raise RunError(
            f"there is no built-in study of that name; give a TOML file, or one of {', '.join(sorted(built_in))}"
        )
    return built_in[name]
