//! A statement before it is planned: what kind it is, which names it mentions, and whether it may be parsed at all.
//!
//! Promises: what passes [`parse`] nests no deeper than the planner's stacks bear, however long it is.

use std::collections::BTreeSet;

use datafusion::common::config::Dialect;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Position, QueryError};

/// How many words and signs may stand in one list item, outside of further brackets. A chain of operators becomes a tree
/// as deep as the chain is long, and planning it takes time that grows with its square.
const ITEM_TOKENS_MAX: usize = 2_000;

/// How deep brackets may be nested; the parser itself bears less.
const BRACKETS_MAX: usize = 200;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads rows.
    Query,
    /// It changes rows of a table.
    Change,
    /// It creates or removes a table.
    Define,
    /// None of these.
    Other,
}

/// What can be told of a statement without parsing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What it does.
    pub kind: Kind,
    /// All words in it that could be the name of a table, in lower case unless they are quoted.
    pub words: BTreeSet<String>,
    /// The table that it changes.
    pub target: Option<String>,
}

fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, QueryError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let mut tokens = tokens.map_err(|error| {
        let position = Position { line: error.location.line, column: error.location.column };
        QueryError::Wrong { text: format!("SQL error: TokenizerError({error})"), position: Some(position) }
    })?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Ok(tokens)
}

fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    }
}

/// Reads a statement's outline.
///
/// # Errors
/// [`QueryError::Wrong`] when it does not even consist of words.
pub fn outline(sql: &str) -> Result<Outline, QueryError> {
    let tokens = tokens(sql)?;
    let words: Vec<Option<String>> = tokens.iter().map(word).collect();
    let mut start = tokens.iter().take_while(|token| token.token == Token::LParen).count();
    let mut next = || {
        start += 1;
        words.get(start - 1).and_then(Option::as_deref)
    };
    let (kind, target) = match next() {
        Some("select" | "with" | "values" | "explain" | "table" | "show" | "describe") => (Kind::Query, None),
        Some("insert") => (Kind::Change, (next() == Some("into")).then_some(start)),
        Some("delete") => (Kind::Change, (next() == Some("from")).then_some(start)),
        Some("update") => (Kind::Change, Some(start)),
        Some("create" | "drop") => (Kind::Define, None),
        _ => (Kind::Other, None),
    };
    let target = target.and_then(|start| table_at(&tokens[start..]));
    Ok(Outline { kind, words: words.into_iter().flatten().collect(), target })
}

/// The last part of the name that stands first: `users` of `public.users`.
fn table_at(tokens: &[TokenWithSpan]) -> Option<String> {
    let mut last = 0;
    while tokens.get(last + 1).is_some_and(|token| token.token == Token::Period) {
        last += 2;
    }
    tokens.get(last).and_then(word)
}

/// Parses the one statement that `sql` holds.
///
/// # Errors
/// [`QueryError::Wrong`] when it is none, more than one, or too deep.
pub(crate) fn parse(sql: &str, state: &SessionState) -> Result<Statement, QueryError> {
    check_depth(&tokens(sql)?)?;
    Ok(state.sql_to_statement(sql, &Dialect::Generic)?)
}

fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), QueryError> {
    let mut items = vec![0_usize];
    for TokenWithSpan { token, span } in tokens {
        let at = |what: &str| {
            let position = Position { line: span.start.line, column: span.start.column };
            let Position { line, column } = position;
            let text = format!("SQL error: the statement is too deep: {what} at Line: {line}, Column: {column}");
            QueryError::Wrong { text, position: Some(position) }
        };
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                if items.len() > BRACKETS_MAX {
                    return Err(at(&format!("more than {BRACKETS_MAX} brackets within each other")));
                }
                items.push(0);
            }
            Token::RParen | Token::RBracket | Token::RBrace if items.len() > 1 => _ = items.pop(),
            Token::Comma | Token::SemiColon => *items.last_mut().unwrap_or(&mut 0) = 0,
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            *item += 1;
            if *item > ITEM_TOKENS_MAX {
                return Err(at(&format!("more than {ITEM_TOKENS_MAX} words in one item")));
            }
        }
    }
    Ok(())
}

/// A statement that reads, and what is wanted of it.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) statement: Statement,
    pub(crate) explain: Option<Explain>,
}

/// A statement that is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explain {
    /// It is carried out too, and counted.
    pub(crate) analyze: bool,
}

/// Accepts what reads, and nothing else.
pub(crate) fn reading(statement: Statement) -> Result<Reading, QueryError> {
    match statement {
        Statement::Explain(explain) => {
            let Reading { statement, explain: inner } = reading(*explain.statement)?;
            match inner {
                None => Ok(Reading { statement, explain: Some(Explain { analyze: explain.options.analyze }) }),
                Some(_) => Err(QueryError::wrong("EXPLAIN explains a query")),
            }
        }
        Statement::Statement(inner) if matches!(*inner, SqlStatement::Query(_)) => {
            Ok(Reading { statement: Statement::Statement(inner), explain: None })
        }
        other => {
            let mut text = other.to_string();
            if let Some((cut, _)) = text.char_indices().nth(60) {
                text.truncate(cut);
                text.push_str("...");
            }
            Err(QueryError::wrong(format!("this statement is not supported: {text}")))
        }
    }
}
