//! A statement in pieces: text of our own, and values, which are always bound.
//!
//! diesel's `sql_query` is prepared anew at every call. A fragment like this one is kept by its text, and preparing is
//! most of what a small query on one segment costs (measured; see `sqlite/reader`).

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Text};

/// A statement that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sql {
    pieces: Vec<Piece>,
    has_condition: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Own(Cow<'static, str>),
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Sql {
    /// Adds text of our own: words and the names of columns and tables, never anything from outside.
    pub(crate) fn own(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.pieces.push(Piece::Own(text.into()));
        self
    }

    /// Adds a number as a bound value.
    pub(crate) fn number(mut self, number: i64) -> Self {
        self.pieces.push(Piece::Number(number));
        self
    }

    /// Adds a text as a bound value.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.pieces.push(Piece::Text(text.to_owned()));
        self
    }

    /// Adds bytes as a bound value.
    pub(crate) fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.pieces.push(Piece::Bytes(bytes.into()));
        self
    }

    /// Begins a condition; all of them must hold.
    pub(crate) fn and(mut self) -> Self {
        let word = if self.has_condition { " AND " } else { " WHERE " };
        self.has_condition = true;
        self.own(word)
    }

    /// Returns a number for the text without its values: equal for statements that are prepared once.
    pub(crate) fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for piece in &self.pieces {
            match piece {
                Piece::Own(text) => text.hash(&mut hasher),
                Piece::Number(_) => 0u8.hash(&mut hasher),
                Piece::Text(_) => 1u8.hash(&mut hasher),
                Piece::Bytes(_) => 2u8.hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Says which columns come back.
    pub(crate) fn returning<T>(self) -> Returning<T> {
        Returning(self, PhantomData)
    }
}

/// A statement that returns columns of the SQL types `T`.
pub(crate) struct Returning<T>(Sql, PhantomData<T>);

impl<T> QueryId for Returning<T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Returning<T> {
    type SqlType = T;
}

impl<T, DB> QueryFragment<DB> for Returning<T>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + HasSqlType<Binary>,
    i64: ToSql<BigInt, DB>,
    String: ToSql<Text, DB>,
    Vec<u8>: ToSql<Binary, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for piece in &self.0.pieces {
            match piece {
                Piece::Own(text) => out.push_sql(text),
                Piece::Number(number) => out.push_bind_param::<BigInt, _>(number)?,
                Piece::Text(text) => out.push_bind_param::<Text, _>(text)?,
                Piece::Bytes(bytes) => out.push_bind_param::<Binary, _>(bytes)?,
            }
        }
        Ok(())
    }
}

impl<T, Conn> diesel::RunQueryDsl<Conn> for Returning<T> {}
