//! Registering projections and marking them for deletion.

use super::catalog::{
    self, DROP_KEYS, NEXT_KEY, NextIds, ProjectionId, RegisteredProjection, TableId,
};
use super::drops::Dropped;
use super::store::Databases;
use super::{StateError, StateWriter, seal};
use crate::store::WriteTxn;

impl StateWriter {
    /// Gives a projection its ids, the same ones each time. Another version is another projection: the
    /// rows of the old one stay until [`drop_projection`](Self::drop_projection).
    ///
    /// # Errors
    /// - [`StateError::Tables`]: it was registered with other tables. Raise its version.
    /// - [`StateError::Name`]: a name is empty, too long, doubled or has a control character.
    /// - [`StateError::Stopped`], [`StateError::Store`], [`StateError::Format`], [`StateError::IdsUsedUp`].
    pub fn register_projection(
        &mut self,
        name: &str,
        version: u32,
        tables: &[&str],
    ) -> Result<RegisteredProjection, StateError> {
        catalog::check_name(name)?;
        catalog::check_tables(tables)?;
        if let Some(known) = self.store().projection(name, version)? {
            return known.in_order(tables);
        }
        self.transact(|databases, txn| add(databases, txn, name, version, tables))
    }

    /// Forgets a projection at once; its rows, progress and dead letters are deleted in slices by
    /// [`step_drops`](Self::step_drops), also after a restart. Registered again it begins empty, under new ids.
    ///
    /// # Errors
    /// [`StateError::UnknownProjection`], [`StateError::Stopped`], [`StateError::Store`].
    pub fn drop_projection(&mut self, name: &str, version: u32) -> Result<(), StateError> {
        let known = self.known(name, version)?;
        let dropped = self.transact(|databases, txn| remove(databases, txn, &known))?;
        self.add_drop(dropped);
        Ok(())
    }

    /// Drops a projection and registers it again, empty, in one transaction: the beginning of a rebuild.
    ///
    /// # Errors
    /// As [`drop_projection`](Self::drop_projection).
    pub fn reset_projection(
        &mut self,
        name: &str,
        version: u32,
    ) -> Result<RegisteredProjection, StateError> {
        let known = self.known(name, version)?;
        let tables: Vec<&str> = known.table_names.iter().map(AsRef::as_ref).collect();
        let (dropped, added) = self.transact(|databases, txn| {
            let dropped = remove(databases, txn, &known)?;
            Ok((dropped, add(databases, txn, name, version, &tables)?))
        })?;
        self.add_drop(dropped);
        Ok(added)
    }

    /// Registers a projection with these tables, also where it has others: those of `kept` stay what they are if it has
    /// them, the rest of `tables` begins empty, and what it has beside them is dropped. Its id, progress and dead letters
    /// stay.
    ///
    /// # Errors
    /// As [`register_projection`](Self::register_projection), but for [`StateError::Tables`].
    pub fn set_tables(
        &mut self,
        name: &str,
        version: u32,
        tables: &[&str],
        kept: &[&str],
    ) -> Result<RegisteredProjection, StateError> {
        let Some(known) = self.store().projection(name, version)? else {
            return self.register_projection(name, version, tables);
        };
        catalog::check_tables(tables)?;
        let stays = |name: &str| kept.contains(&name) && tables.contains(&name);
        let over = known.tables.iter().zip(&known.table_names);
        let over: Vec<_> = over
            .filter_map(|(&table, name)| (!stays(name)).then_some(table))
            .collect();
        if over.is_empty() && tables.len() == known.tables.len() {
            return known.in_order(tables);
        }
        let (dropped, changed) =
            self.transact(|databases, txn| change(databases, txn, &known, tables, &over))?;
        if !dropped.tables.is_empty() {
            self.add_drop(dropped);
        }
        Ok(changed)
    }

    pub(super) fn known(
        &self,
        name: &str,
        version: u32,
    ) -> Result<RegisteredProjection, StateError> {
        let known = self.store().projection(name, version)?;
        known.ok_or_else(|| StateError::UnknownProjection {
            projection: name.to_owned(),
            version,
        })
    }
}

fn add(
    databases: &Databases,
    txn: &mut WriteTxn<'_>,
    name: &str,
    version: u32,
    tables: &[&str],
) -> Result<RegisteredProjection, StateError> {
    let (next, above) = take_ids(databases, txn, tables.len())?;
    let registered = RegisteredProjection {
        id: ProjectionId(next.projection),
        name: name.into(),
        version,
        tables: (next.table..above.table).map(TableId).collect(),
        table_names: tables.iter().map(|&table| table.into()).collect(),
    };
    let key = catalog::projection_key(name, version);
    seal::put(txn, databases.catalog, &key, &registered.encode())?;
    Ok(registered)
}

/// Takes an id of a projection and those of so many tables: from the first, up to the second.
fn take_ids(
    databases: &Databases,
    txn: &mut WriteTxn<'_>,
    tables: usize,
) -> Result<(NextIds, NextIds), StateError> {
    let next = NextIds::decode(txn.get(databases.catalog, NEXT_KEY)?)?;
    let count = u32::try_from(tables).map_err(|_| StateError::IdsUsedUp)?;
    let above = NextIds {
        projection: next
            .projection
            .checked_add(1)
            .ok_or(StateError::IdsUsedUp)?,
        table: next.table.checked_add(count).ok_or(StateError::IdsUsedUp)?,
    };
    seal::put(txn, databases.catalog, NEXT_KEY, &above.encode())?;
    Ok((next, above))
}

/// Drops the tables of `over` and makes those of `tables` that are left out then.
fn change(
    databases: &Databases,
    txn: &mut WriteTxn<'_>,
    known: &RegisteredProjection,
    tables: &[&str],
    over: &[TableId],
) -> Result<(Dropped, RegisteredProjection), StateError> {
    let (mut next, _) = take_ids(databases, txn, tables.len())?;
    let mut ids = Vec::with_capacity(tables.len());
    for table in tables {
        let stays = known.table(table).filter(|id| !over.contains(id));
        ids.push(stays.unwrap_or(TableId(next.table)));
        next.table += u32::from(stays.is_none());
    }
    let changed = RegisteredProjection {
        tables: ids,
        table_names: tables.iter().map(|&table| table.into()).collect(),
        ..known.clone()
    };
    let key = catalog::projection_key(&known.name, known.version);
    seal::put(txn, databases.catalog, &key, &changed.encode())?;
    // Under an id that nothing else has: progress and dead letters of the projection stay.
    let dropped = Dropped {
        projection: ProjectionId(next.projection),
        tables: over.to_vec(),
    };
    if !over.is_empty() {
        let key = drop_key(dropped.projection);
        seal::put(txn, databases.catalog, &key, &dropped.encode())?;
    }
    Ok((dropped, changed))
}

pub(super) fn remove(
    databases: &Databases,
    txn: &mut WriteTxn<'_>,
    known: &RegisteredProjection,
) -> Result<Dropped, StateError> {
    let dropped = Dropped {
        projection: known.id,
        tables: known.tables.clone(),
    };
    let key = catalog::projection_key(&known.name, known.version);
    txn.delete(databases.catalog, &key)?;
    let key = drop_key(known.id);
    seal::put(txn, databases.catalog, &key, &dropped.encode())?;
    Ok(dropped)
}

pub(super) fn drop_key(projection: ProjectionId) -> [u8; 5] {
    let mut key = [DROP_KEYS; 5];
    key[1..].copy_from_slice(&projection.0.to_be_bytes());
    key
}
