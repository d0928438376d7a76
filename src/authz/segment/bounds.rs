//! What an expression may hold. The library has no bound on what an expression costs, so it is
//! bounded by its form: everything that is asked once is counted, everything that is asked of each
//! element of a list is counted apart, and a loop within a loop is refused. What a list may hold is
//! bounded where a record is read.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::parser::pratt_parser::{Lexer, TokenKind};

use super::expression::ExpressionError;

/// Most operators, calls and attributes of one expression; values of a written list don't count.
pub const OPERATIONS_MAX: usize = 256;
/// Most of them in what is asked of each element of a list.
pub const LOOP_OPERATIONS_MAX: usize = 32;
/// Deepest nesting of brackets, and of operators.
pub const NESTING_MAX: usize = 32;
/// Longest list of an attribute that an expression looks into, deepest nesting included.
pub const LIST_ITEMS_MAX: usize = 1_000;

/// Deepest nesting that the parser is let into. Each level is a handful of its frames.
const PARSED_NESTING_MAX: usize = 16;
/// Most conditionals: each is a level of the parser.
const CONDITIONALS_MAX: usize = 16;

/// What the record is called.
const RECORD: &str = "resource";

/// Refuses what would lead the parser, or whoever walks over what it makes, into too deep a
/// recursion. What is no token is left to the parser to tell.
pub(super) fn check_tokens(text: &str) -> Result<(), ExpressionError> {
    let mut lexer = Lexer::new(text);
    let (mut depth, mut conditionals, mut operations) = (0_usize, 0_usize, 0_usize);
    loop {
        let token = lexer.lex();
        match token.kind {
            TokenKind::TokEnd | TokenKind::TokError => return Ok(()),
            TokenKind::TokLeftParen | TokenKind::TokLeftBracket | TokenKind::TokLeftBrace => {
                depth += 1;
                operations += 1;
            }
            TokenKind::TokRightParen | TokenKind::TokRightBracket | TokenKind::TokRightBrace => {
                depth = depth.saturating_sub(1);
            }
            TokenKind::TokQuestion => {
                conditionals += 1;
                operations += 1;
            }
            TokenKind::TokDot
            | TokenKind::TokIn
            | TokenKind::TokMinus
            | TokenKind::TokPlus
            | TokenKind::TokAsterisk
            | TokenKind::TokSlash
            | TokenKind::TokPercent
            | TokenKind::TokExclamation
            | TokenKind::TokEqualEqual
            | TokenKind::TokExclamationEqual
            | TokenKind::TokLess
            | TokenKind::TokLessEqual
            | TokenKind::TokGreater
            | TokenKind::TokGreaterEqual
            | TokenKind::TokLogicalAnd
            | TokenKind::TokLogicalOr => operations += 1,
            TokenKind::TokWhitespace
            | TokenKind::TokComment
            | TokenKind::TokNull
            | TokenKind::TokFalse
            | TokenKind::TokTrue
            | TokenKind::TokReservedWord
            | TokenKind::TokInt
            | TokenKind::TokUint
            | TokenKind::TokFloat
            | TokenKind::TokString
            | TokenKind::TokBytes
            | TokenKind::TokIdent
            | TokenKind::TokComma
            | TokenKind::TokColon
            | TokenKind::TokEqual => {}
        }
        if depth > PARSED_NESTING_MAX {
            return Err(ExpressionError::TooDeep {
                limit: PARSED_NESTING_MAX,
            });
        }
        // A grouping bracket is no operation in the end, so there is room for as many again.
        if conditionals > CONDITIONALS_MAX || operations > 2 * OPERATIONS_MAX {
            return Err(ExpressionError::TooLarge);
        }
    }
}

/// Walks over a parsed expression: the attributes that it looks at, or what it may not hold.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) attributes: Vec<String>,
    operations: usize,
    /// Within a loop: its variable, and the operations so far.
    looped: Option<(String, usize)>,
}

impl Walk {
    pub(super) fn over(&mut self, expression: &IdedExpr) -> Result<(), ExpressionError> {
        if never_true_or_false(&expression.expr) {
            return Err(ExpressionError::NotBoolean);
        }
        self.expression(expression, 0)
    }

    fn expression(&mut self, of: &IdedExpr, depth: usize) -> Result<(), ExpressionError> {
        if depth > NESTING_MAX {
            return Err(ExpressionError::TooDeep { limit: NESTING_MAX });
        }
        let below = depth + 1;
        match &of.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => Err(ExpressionError::NotOffered("bytes")),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select, below),
            Expr::Call(call) => self.call(call, below),
            Expr::List(list) if list.optional_indices.is_empty() => list
                .elements
                .iter()
                .try_for_each(|element| self.expression(element, below)),
            Expr::List(_) => Err(ExpressionError::NotOffered("optional values")),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, below),
            Expr::Map(_) => Err(ExpressionError::NotOffered("maps in the expression")),
            Expr::Struct(_) => Err(ExpressionError::NotOffered("messages in the expression")),
            Expr::Unspecified => Err(ExpressionError::NotOffered("an empty part")),
        }
    }

    fn count(&mut self) -> Result<(), ExpressionError> {
        self.operations += 1;
        if self.operations > OPERATIONS_MAX {
            return Err(ExpressionError::TooLarge);
        }
        if let Some((_, operations)) = &mut self.looped {
            *operations += 1;
            if *operations > LOOP_OPERATIONS_MAX {
                return Err(ExpressionError::LoopTooLarge);
            }
        }
        Ok(())
    }

    /// The record itself is no value: only its attributes are.
    fn name(&mut self, name: &str) -> Result<(), ExpressionError> {
        match &self.looped {
            Some((variable, _)) if variable == name => self.count(),
            _ if name == RECORD => Err(ExpressionError::BareRecord),
            _ => Err(ExpressionError::UnknownName(name.to_owned())),
        }
    }

    fn attribute(&mut self, name: &str) {
        if !self.attributes.iter().any(|known| known == name) {
            self.attributes.push(name.to_owned());
        }
    }

    fn select(&mut self, select: &SelectExpr, depth: usize) -> Result<(), ExpressionError> {
        self.count()?;
        if is_record(&select.operand) {
            self.attribute(&select.field);
            return Ok(());
        }
        self.expression(&select.operand, depth)
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Result<(), ExpressionError> {
        self.count()?;
        if let (operators::INDEX, [operand, index]) = (call.func_name.as_str(), &*call.args)
            && is_record(operand)
        {
            let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
                return Err(ExpressionError::ComputedAttribute);
            };
            self.attribute(name.inner());
            return Ok(());
        }
        if !is_offered(call) {
            return Err(ExpressionError::UnknownFunction(call.func_name.clone()));
        }
        let parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
        for part in parts {
            self.expression(part, depth)?;
        }
        Ok(())
    }

    /// A macro, as it was expanded: of that only the range and the question are the writer's.
    fn comprehension(
        &mut self,
        macros: &ComprehensionExpr,
        depth: usize,
    ) -> Result<(), ExpressionError> {
        self.count()?;
        let question = question(macros).ok_or(ExpressionError::NotOffered(
            "macros other than has, exists, exists_one and all",
        ))?;
        if self.looped.is_some() {
            return Err(ExpressionError::NestedLoops);
        }
        if macros.iter_var == RECORD {
            return Err(ExpressionError::BareRecord);
        }
        self.expression(&macros.iter_range, depth)?;
        self.looped = Some((macros.iter_var.clone(), 0));
        self.expression(question, depth)?;
        self.looped = None;
        Ok(())
    }
}

/// What `exists`, `all` and `exists_one` ask of each element; `None`: another macro.
fn question(macros: &ComprehensionExpr) -> Option<&IdedExpr> {
    let Expr::Call(step) = &macros.loop_step.expr else {
        return None;
    };
    match (&macros.accu_init.expr, step.func_name.as_str(), &*step.args) {
        (
            Expr::Literal(LiteralValue::Boolean(_)),
            operators::LOGICAL_OR | operators::LOGICAL_AND,
            [_, question],
        )
        | (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [question, _, _]) => {
            Some(question)
        }
        _ => None,
    }
}

fn is_record(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == RECORD)
}

fn is_offered(call: &CallExpr) -> bool {
    const BINARY: [&str; 15] = [
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::LESS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::GREATER_EQUALS,
        operators::IN,
        operators::INDEX,
        operators::ADD,
        operators::SUBSTRACT,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
    ];
    const UNARY: [&str; 3] = [operators::LOGICAL_NOT, operators::NEGATE, "size"];
    const METHODS: [&str; 3] = ["startsWith", "endsWith", "contains"];
    let name = call.func_name.as_str();
    match (&call.target, call.args.len()) {
        (None, 1) => UNARY.contains(&name),
        (None, 2) => BINARY.contains(&name),
        (None, 3) => name == operators::CONDITIONAL,
        (Some(_), 0) => name == "size",
        (Some(_), 1) => METHODS.contains(&name),
        (_, _) => false,
    }
}

/// Whether no record can make the expression true.
fn never_true_or_false(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) => true,
        Expr::Call(call) => matches!(
            call.func_name.as_str(),
            operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE
                | "size"
        ),
        Expr::Unspecified
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_) => false,
    }
}
