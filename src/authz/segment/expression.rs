//! A condition of CEL, parsed and bounded once, asked of many records.

use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::parser::pratt_parser::PrattParser;
use cel::{Context, Env, Value};

use super::bounds::{self, NESTING_MAX, Walk};
use super::record;
use crate::authz::change::SEGMENT_WHEN_BYTES_MAX;
use crate::authz::model::Attributes;

/// The name under which an expression finds the record.
const RECORD: &str = "resource";

/// The functions that expressions may call, and more: what of them is offered is told when an
/// expression is parsed.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    #[error("an expression has 1 to {SEGMENT_WHEN_BYTES_MAX} bytes, this one {bytes}")]
    Length { bytes: usize },
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        line: usize,
        column: usize,
        message: String,
    },
    #[error("the expression nests deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error(
        "the expression has more than {} operators, calls and attributes; put long alternatives into one list, as in `resource.city in ['a', 'b']`",
        bounds::OPERATIONS_MAX
    )]
    TooLarge,
    #[error(
        "what is asked of each element of a list has more than {} operators, calls and attributes",
        bounds::LOOP_OPERATIONS_MAX
    )]
    LoopTooLarge,
    #[error("a macro over a list within one over another list can't be bounded: ask `in` instead")]
    NestedLoops,
    #[error(
        "`resource` is asked for its attributes only, as in `resource.city` or `resource['lead-score']`"
    )]
    BareRecord,
    #[error("the name of an attribute is written out, as in `resource['lead-score']`")]
    ComputedAttribute,
    #[error("there is no `{0}`: an expression speaks of `resource.<attribute>`")]
    UnknownName(String),
    #[error(
        "the function `{0}` is not offered with these arguments: there are size, startsWith, endsWith and contains"
    )]
    UnknownFunction(String),
    #[error("{0} can't be used in a segment")]
    NotOffered(&'static str),
    #[error("the expression is true or false of no record: compare what it gives with a value")]
    NotBoolean,
}

/// Why an expression says nothing of a record, which is then no match (P5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("attribute `{attribute}` {problem}")]
    Unreadable {
        attribute: String,
        problem: &'static str,
    },
    #[error("{0}")]
    Evaluation(String),
    #[error("it gives {0}, not true or false")]
    NotBoolean(String),
}

/// An expression that may be asked of any record at a bounded cost.
#[derive(Debug, Clone)]
pub struct Expression {
    parsed: IdedExpr,
    /// What it looks at: no other attribute of a record is read.
    attributes: Vec<String>,
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.is_empty() || text.len() > SEGMENT_WHEN_BYTES_MAX {
            return Err(ExpressionError::Length { bytes: text.len() });
        }
        bounds::check_tokens(text)?;
        let depth = u16::try_from(NESTING_MAX).unwrap_or(u16::MAX);
        let parser = PrattParser::new().max_recursion_depth(depth);
        let parsed = parser.parse(text).map_err(|errors| {
            let first = errors.errors.into_iter().next();
            let (pos, message) =
                first.map_or_else(Default::default, |first| (first.pos, first.msg));
            let place = |at: isize| usize::try_from(at).unwrap_or(0).max(1);
            ExpressionError::Syntax {
                line: place(pos.0),
                column: place(pos.1),
                message: message.trim_start_matches("Syntax error: ").to_owned(),
            }
        })?;
        let mut walk = Walk::default();
        walk.over(&parsed)?;
        Ok(Self {
            parsed,
            attributes: walk.attributes,
        })
    }

    /// The attributes that it looks at.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// P5: what can't be evaluated is no match.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.ask(attributes).unwrap_or(false)
    }

    /// What it says of a record, and where it says nothing, why.
    pub fn ask(&self, attributes: &Attributes) -> Result<bool, NoAnswer> {
        let record = record::read(attributes, &self.attributes)?;
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.add_variable_as_val(RECORD, Box::new(record));
        let value = Value::resolve_val(&self.parsed, &context)
            .map_err(|error| NoAnswer::Evaluation(shortened(&error.to_string())))?;
        value
            .downcast_ref::<CelBool>()
            .map(|value| *value.inner())
            .ok_or_else(|| NoAnswer::NotBoolean(value.get_type().name().to_owned()))
    }
}

/// A message of the library may show a value of the record whole.
fn shortened(message: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    match message.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}
