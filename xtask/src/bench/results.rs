//! [`Results`] holds the measurements, which are saved to a file after each scenario.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// The figures measured for one program in one turn, by the figure's name.
pub(crate) type Sample = BTreeMap<String, f64>;

/// Every program's samples, one per turn.
pub(crate) type Measured = BTreeMap<String, Vec<Sample>>;

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Results {
    /// A description of the machine and the software versions, as separate lines.
    pub(crate) machine: Vec<String>,
    /// The programs and tools that were left out, each with the reason.
    pub(crate) left_out: Vec<String>,
    /// Failed turns by scenario name.
    #[serde(default)]
    pub(crate) failed: BTreeMap<String, Vec<String>>,
    /// Measurements by scenario name.
    pub(crate) scenarios: BTreeMap<String, Measured>,
}

/// The minimum, median and maximum of a figure across several turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Some(Self { min, median, max })
    }

    /// Returns the spread of the values minus `base`.
    pub(crate) fn minus(self, base: f64) -> Self {
        Self {
            min: self.min - base,
            median: self.median - base,
            max: self.max - base,
        }
    }
}

impl Results {
    /// Reads the results of an earlier run. Returns empty results if the results file does not
    /// exist.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_vec_pretty(self)?)
    }

    pub(crate) fn has(&self, scenario: &str) -> bool {
        self.scenarios.contains_key(scenario)
    }

    /// Returns the spread of a program's figure across all turns, or `None` if the figure was not
    /// measured.
    pub(crate) fn spread(&self, scenario: &str, entrant: &str, figure: &str) -> Option<Spread> {
        let samples = self.scenarios.get(scenario)?.get(entrant)?;
        let values = samples.iter().filter_map(|sample| sample.get(figure));
        Spread::of(values.copied().collect())
    }

    pub(crate) fn entrants(&self, scenario: &str) -> impl Iterator<Item = &str> {
        let measured = self.scenarios.get(scenario).into_iter();
        measured.flat_map(BTreeMap::keys).map(String::as_str)
    }
}
