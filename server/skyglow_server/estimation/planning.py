# SPDX-License-Identifier: Apache-2.0
"""Planning constants: what the office believes before it sees a number. Public, documented, and swept in tests.

They are choices, made on simulated and public data only; none is ever tuned on what a study released.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Planning:
    """Constants of the estimators.

    Attributes
    ----------
    class_level_deviation : float
        Prior sd, around 0, of the level that the mean scores of all classes share; in score units. Wide: a score's zero
        means nothing, and the areas' own sums settle the level.
    class_slope, class_slope_deviation : float
        Prior mean and sd of how much more positive classes score than the others. The interval holds zero, a score that
        says nothing.
    class_own_deviation : float
        Prior sd of a class's own mean around these.
    class_size_deviation : float
        Relative sd of a class's share of the panel around its share in the old census.
    class_distinct_homes : tuple of float
        How many distinct homes stand behind the scores of each class where homes are used many times over, as in trials
        on few real homes; empty = every home is counted once.
    score_variance : float
        Prior guess of the variance of scores within a class; `score_variance_homes` homes' worth of belief.
    score_lsoa_deviation, score_msoa_deviation : float
        How much the mean score of homes of the same classes differs from LSOA to LSOA within a MSOA, and from MSOA to
        MSOA (housing stock, heating), beside what goes with employment: sd in score units, as simulated homes of five
        districts differ. The data may move both: the grid holds `score_deviation_multiples` of them.
    score_employment : float
        Prior sd of how much more homes of the same classes score for each unit of the area's old share in employment.
    score_context : float
        How far the slope of mean scores between areas may lie from that between homes, sd: neighbourhoods with more
        homes of a kind differ in other ways too. Used to check, not to estimate.
    turnover : float
        Share of an area's households that are others, or of another kind, than at the census: how many of them count
        is a draw. People aged 60 and over in England moved as if 0.75 were; simulated areas as if none were.
    drift_slope_deviation, drift_level_deviation : float
        Prior sd of β1 and β0: how the logit of the share has moved since the census, with and without regard to where
        it stood. Of people aged 60 and over in England the share moved by 0.09 from mid-2015 to 2021, and districts'
        moves differed from that by 0.05: together 0.10. Slopes within districts lay around -0.1 with sd 0.07.
    drift_lsoa, drift_msoa, drift_spread : float
        Prior medians of the standard deviations of the LSOA and MSOA drifts, in logits (0.2 is about 2.5 points of an
        area's share of 15 %), and how far off they may be: sd of their logarithm. Those people's shares moved by 0.13
        in 31,810 LSOAs beside `turnover`, 0.06 in MSOAs, and LSOA sds differed between districts by 0.14 of their
        logarithm; households are taken to move more, and by an amount that is less well known. A prior that reaches to
        zero as easily as to twice the truth lets noise pass for drift, or drift for noise, where homes are few.
    drift_grid : tuple of float
        Values of σ_LSOA and σ_MSOA that are integrated over.
    metered_share_deviation : float
        Least relative sd of an area's share of metered homes around that of all areas; the counts may show more.
    metering, response : tuple of float, one a composition class
        Relative chances that a home of the class has a smart meter and that a metered one answers, as the survey
        organisation knows them (`selection.load_selection`); empty = all alike.
    metering_deviation, response_deviation : float
        Sd of the log of how much likelier homes that count have a meter, and answer, than these say.
    panel_size_deviation : float
        Relative sd of a MSOA's panel size around its share of the households.
    rule_deviation, presence_model_deviation, trained_model_deviation : float
        Prior sd of how far the mean of all homes' first presence coefficient, by the rule, by an installed model or by
        one that the study trained, lies from the truth (root-mean-square units) once what is known of the reader is put
        right: districts differ, and so do years, by their weather. Further components as `by_component`.
    presence_multiples : tuple of pairs of float
        By how much all prior sds of presence may be too small, and with what chance: of how far meters are off in the
        mean and the slope, of how often homes stand empty, and of how much areas differ.
    gap_alike, residual_alike : float
        Correlation between weekday and weekend of the first component of that, and of how far one home's meter lies
        from its diary. Further components are other shapes of a weekday than of a day of a weekend: not correlated.
    slope_deviation, trained_slope_deviation, slope_area_deviation : float
        Prior sd of how much more than is known of the reader the truth goes with profile coefficients: from home to
        home, by a reader that was measured and by one that the study trained, and, beside that, from area to area.
    component_deviations : tuple of float
        Sds of how far the means of components are off as multiples of the first's; the last is used for all further
        components.
    presence_mix_deviation : float
        How far what areas' kinds of homes do to their mean profiles may lie from what is known of the reader: prior sd,
        relative to the mean size of the effects along each of the reader's axes.
    presence_beyond_deviation : float
        Relative prior sd of how far homes go beyond the bound on profiles, on average over a district, around what is
        known of the reader: how often homes stand empty for days.
    unread_deviation : float
        How far what kinds of homes do beyond what is read may lie from what is known of the reader, relative to the
        mean size of what they do.
    unseen_everywhere : float
        Sd of what meters do not show of a share p of homes occupied in all areas alike, beside what the components
        express, in units of sqrt(p (1 - p)).
    """

    class_level_deviation: float = 0.5
    class_slope: float = 0.4
    class_slope_deviation: float = 0.3
    class_own_deviation: float = 0.2
    class_size_deviation: float = 0.25
    class_distinct_homes: tuple[float, ...] = ()
    score_variance: float = 0.4
    score_variance_homes: float = 50.0
    score_lsoa_deviation: float = 0.033
    score_msoa_deviation: float = 0.009
    score_employment: float = 0.25
    score_context: float = 0.04
    score_deviation_multiples: tuple[float, ...] = (0.5, 1.0, 2.0)
    turnover: float = 0.3
    drift_slope_deviation: float = 0.1
    drift_level_deviation: float = 0.1
    drift_lsoa: float = 0.175
    drift_msoa: float = 0.11
    drift_spread: float = 0.3
    drift_grid: tuple[float, ...] = (0.02, 0.08, 0.14, 0.2, 0.28, 0.4, 0.6)
    metered_share_deviation: float = 0.1
    metering: tuple[float, ...] = ()
    response: tuple[float, ...] = ()
    metering_deviation: float = 0.0
    response_deviation: float = 0.0
    panel_size_deviation: float = 0.2
    rule_deviation: float = 0.0015
    presence_model_deviation: float = 0.0009
    trained_model_deviation: float = 0.02
    presence_multiples: tuple[tuple[float, float], ...] = ((1.0, 0.975), (3.0, 0.015), (20.0, 0.01))
    gap_alike: float = 0.8
    residual_alike: float = 0.4
    slope_deviation: float = 0.04
    trained_slope_deviation: float = 0.3
    slope_area_deviation: float = 0.06
    component_deviations: tuple[float, ...] = (1.0, 0.5, 0.4, 0.3)
    presence_mix_deviation: float = 0.05
    presence_beyond_deviation: float = 0.07
    unread_deviation: float = 0.2
    unseen_everywhere: float = 0.0006

    def by_component(self, first: float, components: int) -> NDArray[np.float64]:
        """Standard deviations [K] from that of the first."""
        last = len(self.component_deviations) - 1
        return first * np.array([self.component_deviations[min(k, last)] for k in range(components)])

    def first_alike(self, correlation: float, components: int) -> NDArray[np.float64]:
        """Correlations [K] between weekday and weekend from that of the first component."""
        return np.r_[correlation, np.zeros(components - 1)]

    def for_rule(self) -> "Planning":
        """What is expected of profiles by the rule, in place of those by a model."""
        return replace(self, presence_model_deviation=self.rule_deviation)

    def for_trained(self) -> "Planning":
        """What is expected of profiles by a model that a study trained: noise may have moved it anywhere near."""
        return replace(
            self,
            presence_model_deviation=self.trained_model_deviation,
            slope_deviation=self.trained_slope_deviation,
        )


PLANNING = Planning()
