//! `forebay user`: who may sign in. A password comes from a person, a file or standard input, never from an argument, which
//! every user of the machine could read.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use forebay::Timestamp;
use forebay::repository::{MAX_LIMIT, NewUser, Password, Role, User as Person, UserChange};
use serde_json::{Value, json};

use crate::Exit;
use crate::admin::{self, FirstAdmin};
use crate::db::Place;
use crate::ingest::Failure;
use crate::kept::{Kept, failed, missing, secret, usage, word};
use crate::table::{Side, Table};
use crate::terminal;

pub const HELP: &str = "\
Examples:
  forebay user add ann --role admin                  asks for the password twice
  pass show forebay/ann | forebay user passwd ann    the first line of standard input
  forebay user add bob --password-file /run/secrets/bob --must-change
  forebay user disable bob && forebay user logout ann
  FOREBAY_ADMIN_PASSWORD_FILE=/run/secrets/admin forebay user seed-admin

May run beside a forebay that writes to the same database. `admin` may change everything, `viewer` may read. There is no \
deleting: who is gone is disabled, and the name is not given again.

Exit codes:
  0    done
  1    there is no such user, there is one already, or the last admin would go
  2    wrong usage or configuration; nothing was changed
  3    the database could not be opened or written";

#[derive(Debug, Subcommand)]
pub enum User {
    /// Create a user.
    Add(Add),
    /// Set a user's password. Whoever is signed in must sign in anew.
    Passwd(Passwd),
    /// List users.
    List(Place),
    /// Set a user's role. Whoever is signed in must sign in anew.
    Role {
        /// The user.
        name: String,
        /// admin or viewer.
        role: Role,
        #[command(flatten)]
        place: Place,
    },
    /// Keep a user from signing in.
    Disable(Named),
    /// Let a user sign in again.
    Enable(Named),
    /// Refuse every token that the user has.
    Logout(Named),
    /// Create the first admin, with the password of FOREBAY_ADMIN_PASSWORD or the file FOREBAY_ADMIN_PASSWORD_FILE, if there
    /// never was a user. `forebay run` does so by itself.
    SeedAdmin {
        /// The admin's name. Default: FOREBAY_ADMIN_USER, else admin
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub struct Add {
    /// 1 to 128 of A-Z a-z 0-9 . _ @ + -; case does not matter.
    name: String,
    /// admin or viewer.
    #[arg(long, default_value = "viewer")]
    role: Role,
    /// Have the password changed before anything else.
    #[arg(long)]
    must_change: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub struct Passwd {
    /// The user.
    name: String,
    /// Have it changed before anything else.
    #[arg(long)]
    must_change: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub struct Named {
    /// The user.
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Source {
    /// Read the password from the first line of this file; `-` is standard input. Default: ask, or standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Source {
    fn password(&self) -> Result<Password, Failure> {
        secret(self.password_file.as_deref(), "new password").map(Password::new)
    }
}

impl User {
    /// Returns where, and for whom the answer is.
    pub fn place(&self) -> &Place {
        match self {
            Self::Add(Add { place, .. }) | Self::Passwd(Passwd { place, .. }) | Self::List(place) => place,
            Self::Role { place, .. } | Self::SeedAdmin { place, .. } => place,
            Self::Disable(named) | Self::Enable(named) | Self::Logout(named) => &named.place,
        }
    }

    pub fn run(&self, kept: &Kept, environment: impl Fn(&str) -> Option<String>) -> Result<Exit, Failure> {
        let change = |name: &str, change: &UserChange<'_>| changed(kept, name, change);
        match self {
            Self::Add(flags) => add(flags, kept),
            Self::List(_) => list(kept),
            Self::SeedAdmin { name, .. } => {
                let admin = FirstAdmin::gather(name.as_deref(), environment).map_err(usage)?;
                let admin = admin.ok_or_else(|| usage(admin::advice()))?;
                let seeded = admin.seed(&kept.open_to_write()?).map_err(failed)?;
                let words =
                    if seeded { "the first admin is created" } else { "there is a user already; nothing to do" };
                Ok(kept.tell(json!({ "seeded": seeded }), words))
            }
            Self::Passwd(flags) => {
                let password = flags.source.password()?;
                let must_change = Some(flags.must_change);
                let set = UserChange { password: Some(&password), must_change, ..UserChange::default() };
                change(&flags.name, &set)
            }
            Self::Role { name, role, .. } => change(name, &UserChange { role: Some(*role), ..UserChange::default() }),
            Self::Disable(Named { name, .. }) => {
                change(name, &UserChange { is_disabled: Some(true), ..UserChange::default() })
            }
            Self::Enable(Named { name, .. }) => {
                change(name, &UserChange { is_disabled: Some(false), ..UserChange::default() })
            }
            Self::Logout(Named { name, .. }) => {
                change(name, &UserChange { tokens_valid_from: Some(Timestamp::now()), ..UserChange::default() })
            }
        }
    }
}

fn add(flags: &Add, kept: &Kept) -> Result<Exit, Failure> {
    let password = flags.source.password()?;
    let new = NewUser { name: &flags.name, role: flags.role, password: &password, must_change: flags.must_change };
    let user = kept.open_to_write()?.users().create(&new).map_err(failed)?;
    Ok(kept.tell(shown(&user), &format!("created {} ({})", user.name, user.role)))
}

fn changed(kept: &Kept, name: &str, change: &UserChange<'_>) -> Result<Exit, Failure> {
    let user = kept.open_to_write()?.users().change(name, change).map_err(failed)?;
    let user = user.ok_or_else(|| missing(format!("there is no user {name}")))?;
    Ok(kept.tell(shown(&user), &format!("changed {} ({}{})", user.name, user.role, marks(&user))))
}

fn list(kept: &Kept) -> Result<Exit, Failure> {
    let repository = kept.open()?;
    let mut users: Vec<Person> = Vec::new();
    loop {
        let page = repository.users().list(users.last().map_or(0, |user| user.id), MAX_LIMIT).map_err(failed)?;
        let is_end = page.len() < MAX_LIMIT;
        users.extend(page);
        if is_end {
            break;
        }
    }
    let mut table =
        Table::new([("id", Side::Right), ("name", Side::Left), ("role", Side::Left), ("changed", Side::Left)]);
    for user in &users {
        let role = format!("{}{}", user.role, marks(user));
        table.push([user.id.to_string(), word(&user.name), role, user.updated.to_string()]);
    }
    let json = Value::Array(users.iter().map(shown).collect());
    terminal::print(&if kept.json { format!("{json}\n") } else { table.to_string() });
    Ok(Exit::Done)
}

fn marks(user: &Person) -> String {
    let marks = [(user.is_disabled, ", disabled"), (user.must_change, ", must change the password")];
    marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark).collect()
}

fn shown(user: &Person) -> Value {
    json!({
        "id": user.id, "name": user.name, "role": user.role.name(), "must_change": user.must_change,
        "disabled": user.is_disabled, "tokens_valid_from": user.tokens_valid_from.to_string(),
        "created": user.created.to_string(), "updated": user.updated.to_string(),
    })
}
