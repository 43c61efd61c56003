//! Names and versions of projections, and the small ids under which their rows lie.
//!
//! Database `catalog`: `l` holds the layout's version; `n` the next free ids; `p`, name, zero, version
//! (32 bits) a projection; `a`, name which of its versions answers queries; `d`, id a projection that is being deleted.
//! Ids only ever rise.

use std::fmt;

use compact_str::CompactString;

use super::wire::{FORMAT_VERSION, Input, put_sized};
use super::{StateError, seal};

/// Longest name of a projection or table in bytes.
pub const NAME_BYTES_MAX: usize = 255;

pub(super) const NEXT_KEY: &[u8] = b"n";
pub(super) const PROJECTION_KEYS: u8 = b'p';
pub(super) const DROP_KEYS: u8 = b'd';
pub(super) const VERSIONS_KEYS: u8 = b'a';
pub(super) const DATABASE: &str = "catalog";

/// Number of a registered projection. Never given twice in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectionId(pub u32);

/// Number of a registered table. Never given twice in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u32);

impl fmt::Display for ProjectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A projection as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredProjection {
    /// Its id.
    pub id: ProjectionId,
    /// Its name.
    pub name: CompactString,
    /// Its version.
    pub version: u32,
    /// Ids of its tables, in the order in which their names were given at registration (when listed: at the
    /// first one).
    pub tables: Vec<TableId>,
    /// Names of its tables, in the same order.
    pub table_names: Vec<CompactString>,
}

/// A table of a projection as it was found, which may be dropped since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    /// Its projection.
    pub projection: CompactString,
    /// Version of that.
    pub version: u32,
    /// Its id.
    pub id: TableId,
}

impl RegisteredProjection {
    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<TableId> {
        let at = self.table_names.iter().position(|known| known == name)?;
        Some(self.tables[at])
    }

    /// One of its tables, for whoever reads it while somebody else may drop it.
    #[must_use]
    pub fn found(&self, table: TableId) -> FoundTable {
        FoundTable {
            projection: self.name.clone(),
            version: self.version,
            id: table,
        }
    }

    /// The same projection with its tables in the order of `names`.
    ///
    /// # Errors
    /// [`StateError::Tables`] when it has others.
    pub(super) fn in_order(&self, names: &[&str]) -> Result<Self, StateError> {
        let found: Option<Vec<TableId>> = names.iter().map(|name| self.table(name)).collect();
        match found {
            Some(tables) if tables.len() == self.tables.len() => Ok(Self {
                tables,
                table_names: names.iter().map(|&name| name.into()).collect(),
                ..self.clone()
            }),
            _ => Err(StateError::Tables {
                projection: self.name.to_string(),
                version: self.version,
                stored: self.table_names.iter().map(ToString::to_string).collect(),
                asked: names.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.id.0.to_be_bytes());
        for (table, name) in self.tables.iter().zip(&self.table_names) {
            out.extend_from_slice(&table.0.to_be_bytes());
            put_sized(&mut out, name.as_bytes());
        }
        out
    }

    pub(super) fn decode(key: &[u8], stored: &[u8]) -> Result<Self, StateError> {
        let parsed = || {
            let (name, version) = key.get(1..)?.split_last_chunk::<4>()?;
            let name = std::str::from_utf8(name.strip_suffix(&[0])?).ok()?;
            let mut input = Input::versioned(seal::unsealed(key, stored)?)?;
            let id = ProjectionId(input.u32()?);
            let (mut tables, mut table_names) = (Vec::new(), Vec::new());
            while !input.clone().rest().is_empty() {
                tables.push(TableId(input.u32()?));
                table_names.push(input.text()?.into());
            }
            Some(Self {
                id,
                name: name.into(),
                version: u32::from_be_bytes(*version),
                tables,
                table_names,
            })
        };
        parsed().ok_or(StateError::Format {
            database: DATABASE,
            what: "a projection: its id and tables",
        })
    }
}

/// The next free ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextIds {
    pub projection: u32,
    pub table: u32,
}

impl NextIds {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.projection.to_be_bytes());
        out.extend_from_slice(&self.table.to_be_bytes());
        out
    }

    /// Ids begin at 1, so that a zero in a damaged key names nothing.
    pub(super) fn decode(stored: Option<&[u8]>) -> Result<Self, StateError> {
        let Some(stored) = stored else {
            return Ok(Self {
                projection: 1,
                table: 1,
            });
        };
        let parsed = || {
            let mut input = Input::versioned(seal::unsealed(NEXT_KEY, stored)?)?;
            let (projection, table) = (input.u32()?, input.u32()?);
            input.finish(Self { projection, table })
        };
        parsed().ok_or(StateError::Format {
            database: DATABASE,
            what: "the next free ids",
        })
    }
}

pub(super) fn projection_key(name: &str, version: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 6);
    key.push(PROJECTION_KEYS);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// Checks a name of a projection or table.
pub(super) fn check_name(name: &str) -> Result<(), StateError> {
    let what = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(StateError::Name {
        name: name.to_owned(),
        what,
    })
}

/// Checks the names of a projection's tables.
pub(super) fn check_tables(tables: &[&str]) -> Result<(), StateError> {
    for (at, name) in tables.iter().enumerate() {
        check_name(name)?;
        if tables[..at].contains(name) {
            return Err(StateError::Name {
                name: (*name).to_owned(),
                what: "two tables have it",
            });
        }
    }
    Ok(())
}
