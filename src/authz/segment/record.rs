//! A record as an expression sees it: those of its attributes that the expression looks at.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull};
use cel::common::types::{CelString, CelUInt};
use cel::common::value::Val;
use serde_json::{Number, Value};

use super::bounds::{LIST_ITEMS_MAX, NESTING_MAX};
use super::expression::NoAnswer;
use crate::authz::model::Attributes;

type Boxed<'v> = Box<dyn Val + 'v>;

/// An attribute that is too large to look into makes the whole expression one without an answer:
/// were it left out, the record would match what asks whether it lacks it.
pub(super) fn read<'v>(
    attributes: &'v Attributes,
    names: &'v [String],
) -> Result<CelMap<'v>, NoAnswer> {
    let mut record: HashMap<CelMapKey<'v>, Boxed<'v>> = HashMap::with_capacity(names.len());
    for name in names {
        if let Some(value) = attributes.get(name) {
            let mut left = LIST_ITEMS_MAX;
            let value = value_of(value, 0, &mut left).map_err(|problem| NoAnswer::Unreadable {
                attribute: name.clone(),
                problem,
            })?;
            record.insert(CelMapKey::from(name.as_str()), value);
        }
    }
    Ok(CelMap::from(record))
}

/// `left`: how many elements of lists and maps may still be read.
fn value_of<'v>(
    value: &'v Value,
    depth: usize,
    left: &mut usize,
) -> Result<Boxed<'v>, &'static str> {
    if depth > NESTING_MAX {
        return Err("nests too deep to be looked into");
    }
    let mut take = |elements: usize| -> Result<(), &'static str> {
        *left = left
            .checked_sub(elements)
            .ok_or("has more elements than are looked into")?;
        Ok(())
    };
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => number_of(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(elements) => {
            take(elements.len())?;
            let elements: Result<Vec<Boxed<'v>>, _> = elements
                .iter()
                .map(|element| value_of(element, depth + 1, left))
                .collect();
            Box::new(CelList::from(elements?))
        }
        Value::Object(members) => {
            take(members.len())?;
            let mut map: HashMap<CelMapKey<'v>, Boxed<'v>> = HashMap::with_capacity(members.len());
            for (name, member) in members {
                let member = value_of(member, depth + 1, left)?;
                map.insert(CelMapKey::from(name.as_str()), member);
            }
            Box::new(CelMap::from(map))
        }
    })
}

fn number_of<'v>(number: &Number) -> Boxed<'v> {
    if let Some(whole) = number.as_i64() {
        return Box::new(CelInt::from(whole));
    }
    if let Some(whole) = number.as_u64() {
        return Box::new(CelUInt::from(whole));
    }
    // Every other number of JSON is one of these.
    Box::new(CelDouble::from(number.as_f64().unwrap_or_default()))
}
