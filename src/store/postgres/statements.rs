//! The statements that put and remove rows of a table, and rows as COPY takes them.
//!
//! Rows travel as one JSON array bound to one parameter, so that no write comes near the limit of
//! bound values; many rows of a table whose keys are new travel by COPY.

use std::fmt::Write as _;

use serde_json::Value;

use crate::authz::model::Timestamp;
use crate::store::StoreError;
use crate::store::rows::{not_json, unavailable};
use crate::store::tables::Table;

/// What a column holds, and so how its value is taken out of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Flag,
    Number,
    /// Unix microseconds in JSON.
    Time,
    /// An array of text, in JSON as the text of a JSON array.
    Texts,
    Json,
}

/// A table as it is written: its columns in the order of a row, the account left out.
struct Shape {
    table: &'static str,
    columns: &'static [(&'static str, Type)],
    /// How many columns, from the first, tell a row from others; 0: all of them do, and some may be
    /// null.
    key: usize,
}

const GRANT_COLUMNS: usize = 9;

const fn grants(holder: &'static str) -> [(&'static str, Type); GRANT_COLUMNS] {
    [
        (holder, Type::Text),
        ("resource_type", Type::Text),
        ("permission", Type::Text),
        ("level", Type::Text),
        ("include_unassigned", Type::Flag),
        ("not_before", Type::Time),
        ("expires_at", Type::Time),
        ("provenance", Type::Text),
        ("granted_by", Type::Text),
    ]
}

static PERMISSION_SET_GRANT: [(&str, Type); GRANT_COLUMNS] = grants("permission_set_id");
static USER_GRANT: [(&str, Type); GRANT_COLUMNS] = grants("user_id");

#[expect(clippy::too_many_lines, reason = "one table an arm, read by its arms")]
fn shape(table: Table) -> Shape {
    use Type::{Flag, Json, Number, Text, Texts, Time};
    let (table, columns, key): (_, &'static [(&'static str, Type)], _) = match table {
        Table::Account => (
            "account",
            &[
                ("catalog", Text),
                ("catalog_source", Text),
                ("plan", Text),
                ("partner_program", Text),
                ("payment_method_valid", Flag),
            ],
            0,
        ),
        Table::Team => ("team", &[("team_id", Text), ("parent", Text)], 1),
        Table::PermissionSet => ("permission_set", &[("permission_set_id", Text)], 1),
        Table::AccessGroup => ("access_group", &[("access_group_id", Text)], 1),
        Table::User => (
            "app_user",
            &[
                ("user_id", Text),
                ("status", Text),
                ("kind", Text),
                ("account_owner", Flag),
                ("super_admin", Flag),
                ("partner_admin", Flag),
                ("main_team", Text),
                ("person", Text),
                ("partner_account", Text),
                ("partner_user", Text),
                ("partner_role", Text),
                ("partnership", Text),
                ("email", Text),
            ],
            1,
        ),
        Table::Segment => (
            "segment",
            &[
                ("segment_id", Text),
                ("resource_type", Text),
                ("criteria", Text),
                ("enabled", Flag),
                ("may_partition", Flag),
            ],
            1,
        ),
        Table::Resource => (
            "resource",
            &[
                ("resource_type", Text),
                ("resource_id", Text),
                ("owning_team", Text),
                ("partitioned", Flag),
            ],
            2,
        ),
        Table::AccessRequest => (
            "access_request",
            &[
                ("access_request_id", Text),
                ("user_id", Text),
                ("resource_type", Text),
                ("action", Text),
                ("resource_id", Text),
                ("reason", Text),
                ("denied_as", Text),
                ("wanted_seconds", Number),
                ("origin_url", Text),
                ("filed_at", Time),
                ("expires_at", Time),
                ("state", Text),
                ("closed_at", Time),
                ("closed_by", Text),
                ("closing_note", Text),
                ("resolution", Text),
                ("resolution_id", Text),
                ("resolution_type", Text),
                ("resolution_permission", Text),
                ("resolution_level", Text),
                ("resolution_unassigned", Flag),
                ("resolution_expires_at", Time),
            ],
            1,
        ),
        Table::AccountSetting => (
            "account_setting",
            &[("name", Text), ("type_key", Text), ("value", Text)],
            2,
        ),
        Table::PermissionSetGrant => ("permission_set_grant", &PERMISSION_SET_GRANT, 0),
        Table::UserTeam => ("user_team", &[("user_id", Text), ("team_id", Text)], 2),
        Table::UserSeat => ("user_seat", &[("user_id", Text), ("seat", Text)], 2),
        Table::UserPermissionSet => (
            "user_permission_set",
            &[
                ("user_id", Text),
                ("permission_set_id", Text),
                ("granted_by", Text),
            ],
            2,
        ),
        Table::UserMembership => (
            "user_membership",
            &[
                ("user_id", Text),
                ("kind", Text),
                ("id", Text),
                ("provenance", Text),
                ("expires_at", Time),
                ("granted_by", Text),
            ],
            4,
        ),
        Table::UserGrant => ("user_grant", &USER_GRANT, 0),
        Table::AccessGroupMember => (
            "access_group_member",
            &[
                ("access_group_id", Text),
                ("principal_kind", Text),
                ("principal_id", Text),
                ("actions", Texts),
            ],
            3,
        ),
        Table::SegmentTarget => (
            "segment_target",
            &[
                ("segment_id", Text),
                ("principal_kind", Text),
                ("principal_id", Text),
            ],
            3,
        ),
        Table::ResourceAttributes => (
            "resource_attributes",
            &[
                ("resource_type", Text),
                ("resource_id", Text),
                ("attributes", Json),
            ],
            2,
        ),
        Table::ResourceOwner => (
            "resource_owner",
            &[
                ("resource_type", Text),
                ("resource_id", Text),
                ("user_id", Text),
            ],
            3,
        ),
        Table::Assignment => (
            "assignment",
            &[
                ("resource_type", Text),
                ("resource_id", Text),
                ("principal_kind", Text),
                ("principal_id", Text),
                ("provenance", Text),
                ("expires_at", Time),
            ],
            5,
        ),
        Table::ObjectGrant => (
            "object_grant",
            &[
                ("user_id", Text),
                ("resource_type", Text),
                ("resource_id", Text),
                ("action", Text),
                ("not_before", Time),
                ("expires_at", Time),
                ("provenance", Text),
                ("granted_by", Text),
            ],
            0,
        ),
    };
    Shape {
        table,
        columns,
        key,
    }
}

/// A time from Unix microseconds, exactly: seconds and the rest apart, since an interval is
/// multiplied in floating point.
pub(super) fn time_of(micros: &str) -> String {
    format!(
        "(timestamptz 'epoch' + ({micros})::int8 / 1000000 * interval '1 second' \
         + ({micros})::int8 % 1000000 * interval '1 microsecond')"
    )
}

/// The value of a column out of a row `v` of JSON.
fn value_of(index: usize, column_type: Type) -> String {
    let text = format!("(v ->> {index})");
    match column_type {
        Type::Text => text,
        Type::Flag => format!("{text}::boolean"),
        Type::Number => format!("{text}::int8"),
        Type::Time => time_of(&text),
        Type::Texts => format!("ARRAY(SELECT json_array_elements_text({text}::json))"),
        Type::Json => format!("{text}::json"),
    }
}

/// Puts rows: `$1` the account, `$2` the JSON array of rows. For the account itself `$3`: whether
/// its owner may stand alone.
pub(super) fn put_sql(table: Table) -> String {
    let shape = shape(table);
    let mut columns = String::from("account_id");
    let mut values = String::from("$1");
    let mut updates = Vec::new();
    for (index, (name, column_type)) in shape.columns.iter().enumerate() {
        let _infallible = write!(columns, ", {name}");
        let _infallible = write!(values, ", {}", value_of(index, *column_type));
        if index >= shape.key {
            updates.push(format!("{name} = excluded.{name}"));
        }
    }
    if table == Table::Account {
        columns.push_str(", owner_may_stand_alone");
        values.push_str(", $3");
        updates.push("owner_may_stand_alone = excluded.owner_may_stand_alone".to_owned());
    }
    let mut sql = format!(
        "INSERT INTO ambit.{} ({columns}) SELECT {values} FROM json_array_elements($2::json) AS v",
        shape.table
    );
    if table.is_entity() {
        let mut key = String::from("account_id");
        for (name, _) in shape.columns.iter().take(shape.key) {
            let _infallible = write!(key, ", {name}");
        }
        let _infallible = if updates.is_empty() {
            write!(sql, " ON CONFLICT ({key}) DO NOTHING")
        } else {
            write!(
                sql,
                " ON CONFLICT ({key}) DO UPDATE SET {}",
                updates.join(", ")
            )
        };
    }
    sql
}

/// Removes rows, with the same parameters; of the columns, those that tell a row from others.
pub(super) fn remove_sql(table: Table) -> String {
    let shape = shape(table);
    let whole = shape.key == 0;
    let told = if whole {
        shape.columns.len()
    } else {
        shape.key
    };
    let mut sql = format!(
        "DELETE FROM ambit.{} AS t USING json_array_elements($2::json) AS v WHERE t.account_id = $1",
        shape.table
    );
    for (index, (name, column_type)) in shape.columns.iter().enumerate().take(told) {
        let value = value_of(index, *column_type);
        // The first column is never null, and found by an index.
        let equals = if whole && index > 0 {
            "IS NOT DISTINCT FROM"
        } else {
            "="
        };
        let _infallible = write!(sql, " AND t.{name} {equals} {value}");
    }
    sql
}

/// The statement that [`copied`] rows are sent with.
pub(super) fn copy_sql(table: Table) -> String {
    let shape = shape(table);
    let mut columns = String::from("account_id");
    for (name, _) in shape.columns {
        let _infallible = write!(columns, ", {name}");
    }
    format!(
        "COPY ambit.{} ({columns}) FROM STDIN (FORMAT text)",
        shape.table
    )
}

/// Appends a row in the text format of COPY.
pub(super) fn copied(
    table: Table,
    account: &str,
    row: &str,
    out: &mut String,
) -> Result<(), StoreError> {
    let values: Vec<Value> = serde_json::from_str(row).map_err(not_json)?;
    let shape = shape(table);
    escaped(account, out);
    for ((_, column_type), value) in shape.columns.iter().zip(&values) {
        out.push('\t');
        match (column_type, value) {
            (_, Value::Null) => out.push_str("\\N"),
            (Type::Text | Type::Json, Value::String(text)) => escaped(text, out),
            (Type::Flag, Value::Bool(flag)) => out.push(if *flag { 't' } else { 'f' }),
            (Type::Number, Value::Number(number)) => escaped(&number.to_string(), out),
            (Type::Time, Value::Number(micros)) => {
                let time = micros.as_i64().and_then(Timestamp::from_unix_micros);
                let time = time.ok_or_else(|| unavailable("a time that is none"))?;
                escaped(&time.to_string(), out);
            }
            (Type::Texts, Value::String(list)) => {
                let list: Vec<String> = serde_json::from_str(list).map_err(not_json)?;
                escaped(&array(&list), out);
            }
            _ => return Err(unavailable("a row that does not fit its table")),
        }
    }
    out.push('\n');
    Ok(())
}

/// An array as the database writes it.
fn array(list: &[String]) -> String {
    let quoted: Vec<String> = list
        .iter()
        .map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

fn escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
}
