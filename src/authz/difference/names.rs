//! Types and actions of both sides, paired by name: a catalog may be among what changed.

use std::collections::BTreeMap;

use crate::authz::catalog::{ActionIx, Catalog, ResourceType, TypeIx};
use crate::authz::graph::AccountGraph;
use crate::authz::model::Id;

/// A type by its name; not both sides lack it.
pub(super) struct TypePair<'g> {
    pub name: &'g Id,
    pub before: Option<TypeIx>,
    pub after: Option<TypeIx>,
    pub actions: Vec<ActionPair<'g>>,
}

/// One or more actions that are the same as each other, on both sides.
pub(super) struct ActionPair<'g> {
    pub names: Vec<&'g Id>,
    pub before: Option<ActionIx>,
    pub after: Option<ActionIx>,
    /// Ignores the resource on a side that has it.
    pub tool_level: bool,
}

impl<'g> TypePair<'g> {
    /// All types, or the one of a question with just its action.
    pub(super) fn all(
        before: Option<&'g AccountGraph>,
        after: Option<&'g AccountGraph>,
        question: Option<(&Id, &Id)>,
    ) -> Vec<Self> {
        let catalogs = [before, after].map(|graph| graph.map(|graph| graph.catalog().as_ref()));
        let mut types: BTreeMap<&'g Id, [Option<TypeIx>; 2]> = BTreeMap::new();
        for (side, catalog) in catalogs.iter().enumerate() {
            for (type_ix, resource_type) in types_of(*catalog) {
                let pair = types.entry(&resource_type.name).or_default();
                if let Some(slot) = pair.get_mut(side) {
                    *slot = Some(type_ix);
                }
            }
        }
        types
            .into_iter()
            .filter(|(name, _)| question.is_none_or(|(asked, _)| asked == *name))
            .map(|(name, [before, after])| Self {
                name,
                before,
                after,
                actions: actions(
                    catalogs,
                    [before, after],
                    question.map(|(_, action)| action),
                ),
            })
            .collect()
    }
}

fn types_of(catalog: Option<&Catalog>) -> impl Iterator<Item = (TypeIx, &ResourceType)> {
    let types = catalog.map_or(&[][..], |catalog| catalog.types.as_slice());
    (0u16..).map(TypeIx).zip(types)
}

/// Names that are the same action on both sides come together.
fn actions<'g>(
    catalogs: [Option<&'g Catalog>; 2],
    types: [Option<TypeIx>; 2],
    asked: Option<&Id>,
) -> Vec<ActionPair<'g>> {
    let mut canonical: BTreeMap<&'g Id, [Option<ActionIx>; 2]> = BTreeMap::new();
    let mut ignores_resources = Vec::new();
    for (side, (catalog, type_ix)) in catalogs.into_iter().zip(types).enumerate() {
        let Some((catalog, resource_type)) = catalog
            .zip(type_ix)
            .and_then(|(catalog, type_ix)| Some((catalog, catalog.resource_type(type_ix)?)))
        else {
            continue;
        };
        for action in resource_type.actions.iter() {
            let same_as = resource_type.canonical.get(usize::from(action.0));
            let Some((name, same_as)) = catalog
                .action_name(action)
                .zip(same_as.copied().flatten())
                .filter(|(name, _)| asked.is_none_or(|asked| asked == *name))
            else {
                continue;
            };
            if let Some(slot) = canonical.entry(name).or_default().get_mut(side) {
                *slot = Some(same_as);
            }
            let rule = resource_type.rule(same_as);
            if rule.is_some_and(|rule| rule.tool_level) {
                ignores_resources.push((side, same_as));
            }
        }
    }
    let mut pairs: BTreeMap<[Option<ActionIx>; 2], Vec<&'g Id>> = BTreeMap::new();
    for (name, sides) in canonical {
        pairs.entry(sides).or_default().push(name);
    }
    pairs
        .into_iter()
        .map(|([before, after], names)| ActionPair {
            names,
            before,
            after,
            tool_level: before.is_some_and(|action| ignores_resources.contains(&(0, action)))
                || after.is_some_and(|action| ignores_resources.contains(&(1, action))),
        })
        .collect()
}
