//! Case 38, D9: of the last super admins one stays, whoever takes them away at once, by every path
//! that there is: lists of changes by themselves, by each other and by an operator, the deletion of
//! what they are in, the agency's calls, the end of the partnership, and plain SQL.

use super::*;
use crate::grpc::reason;
use ambit::grpc::status::Reason;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// What `anna` of the agency and the client's own `sa` are before each round.
const AGAIN: &str = "
teams: [{id: heads}]
users:
  - {id: sa, status: active, super_admin: true, main_team: heads}
  - {id: anna-k, status: active, super_admin: true, main_team: heads, kind: partner_employee, partner: {account: kite, user: anna, role: employee}}
  - {id: petra-k, partner: {account: kite, user: petra, role: admin}}
";

/// One attempt; the answer says whether it was made.
async fn attempt(pair: &Pair, number: usize) -> Result<(), Status> {
    let server = pair.at(number);
    let target = ["sa", "anna-k"][number % 2];
    // Each other's, one's own, and an operator's.
    let actor = ["sa", "anna-k", ""][number / 2 % 3];
    let put = |text: &str| changes("acme", &format!("users: [{{id: {target}, {text}}}]"));
    let list = match number / 2 % 12 {
        0 => put("super_admin: false"),
        1 => put("status: deactivated"),
        2 => put("status: removed"),
        3 => put("status: invited"),
        4 => vec![change(wire::change::Change::DeleteUser(target.to_owned()))],
        5 => {
            // What they are in goes, and they with it in one list.
            let team = wire::change::Change::DeleteTeam("heads".to_owned());
            let mut list = vec![change(team)];
            list.extend(put("super_admin: false"));
            list
        }
        6 => {
            let request = wire::MigrateToPartnerAdminRequest {
                account_id: "acme".to_owned(),
                actor_user_id: "anna-k".to_owned(),
                user_id: "anna-k".to_owned(),
                keep_billing: false,
            };
            let mut partners = server.partners();
            return partners.migrate_to_partner_admin(request).await.map(drop);
        }
        7 => {
            let request = wire::DeactivateEmployeeRequest {
                account_id: "kite".to_owned(),
                actor_user_id: "petra".to_owned(),
                partner_user_id: "anna".to_owned(),
                ..wire::DeactivateEmployeeRequest::default()
            };
            return server
                .partners()
                .deactivate_employee(request)
                .await
                .map(drop);
        }
        8 => {
            let token = super::clients::preview(server, "anna").await?;
            return super::clients::remove(server, "anna", token)
                .await
                .map(drop);
        }
        9 => return super::clients::end(server).await.map(drop),
        10 => {
            let sql = format!(
                "UPDATE app_user SET super_admin = NOT super_admin WHERE account_id = 'acme' AND user_id = '{target}' AND super_admin"
            );
            return plain(pair, sql).await;
        }
        _ => {
            let sql = match number % 3 {
                0 => format!("DELETE FROM app_user WHERE account_id = 'acme' AND user_id = '{target}'"),
                1 => format!("UPDATE app_user SET status = 'deactivated' WHERE account_id = 'acme' AND user_id = '{target}'"),
                _ => "UPDATE app_user SET partnership = 'ended' WHERE account_id = 'acme' AND partner_account = 'kite'".to_owned(),
            };
            return plain(pair, sql).await;
        }
    };
    apply_as(server, "acme", actor, list).await.map(drop)
}

/// As a plain SQL writer, who is told in an error of the database why not.
async fn plain(pair: &Pair, sql: String) -> Result<(), Status> {
    let done = match &pair.database {
        Database::Sqlite(directory) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(directory.path().join("ambit.db"))
                .busy_timeout(Duration::from_secs(20));
            let mut connection = options.connect().await.unwrap();
            let done = sqlx::query(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await;
            connection.close().await.unwrap();
            done.map(drop)
        }
        Database::Postgres(database) => {
            let mut connection = crate::postgres::cluster::connect(database.url()).await;
            let path = sqlx::query("SET search_path = ambit");
            path.execute(&mut connection).await.unwrap();
            let done = sqlx::query(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await;
            connection.close().await.unwrap();
            done.map(drop)
        }
    };
    // Anything but the rule and a lost race is a defect.
    done.map_err(|error| {
        let text = error.to_string();
        let is_known = ["D9: ", "deadlock detected", "database is locked"];
        assert!(is_known.iter().any(|known| text.contains(known)), "{text}");
        Status::aborted(text)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_38_64_at_once_on_the_last_super_admins_by_every_path_leave_one() {
    let pair = Arc::new(Pair::new().await);
    let mut taken = [0_usize; 12];
    for round in 0..by_soak(3, 1_000) {
        pair.operate("acme", AGAIN).await;
        let attempts = (0..64_usize).map(|number| {
            let pair = Arc::clone(&pair);
            // Each path is first in some round.
            let number = number + 2 * round;
            tokio::spawn(async move { (number, attempt(&pair, number).await) })
        });
        let attempts: Vec<_> = attempts.collect();
        let mut made = 0;
        for attempt in attempts {
            let (number, answer) = attempt.await.unwrap();
            match answer {
                Ok(()) => {
                    made += 1;
                    taken[number / 2 % 12] += 1;
                }
                Err(status) if status.message().contains("D9: ") => {}
                Err(status) if status.code() == tonic::Code::Aborted => {}
                Err(status) => {
                    let refused: Result<(), Status> = Err(status);
                    let why = reason(refused);
                    assert!(
                        matches!(
                            why,
                            Reason::LastSuperAdmin
                                | Reason::ActorMayNot
                                | Reason::OwnRights
                                | Reason::ProtectedUser
                                | Reason::UnknownReference
                                | Reason::NotSuperAdmin
                                | Reason::NotPartnerAdmin
                                | Reason::NotAnApprover
                                | Reason::NoPartnership
                                | Reason::StaffNotFound
                                | Reason::StaffNotChangeable
                                | Reason::SuperAdminNotRemovable
                                | Reason::PreviewStale
                        ),
                        "{why:?} of path {}",
                        number / 2 % 12
                    );
                }
            }
        }
        assert!(made > 0, "round {round}");
        let users = pair.users("acme").await;
        let left: Vec<&wire::User> = users
            .iter()
            .filter(|user| {
                let ended = user
                    .partner
                    .as_ref()
                    .is_some_and(|partner| partner.partnership() == wire::Partnership::Ended);
                user.super_admin && user.status() == wire::UserStatus::Active && !ended
            })
            .collect();
        assert!(!left.is_empty(), "round {round}: {users:?}");
    }
    println!("case 38, by path: {taken:?}");
}

/// D9 holds at each step of one list too, where another one takes over in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_the_last_super_admin_hands_over_in_one_list() {
    let pair = Pair::new().await;
    let server = pair.at(0);
    let hand_over = "users: [{id: sa, super_admin: false}, {id: u, super_admin: true}]";
    let handed = apply_as(server, "acme", "sa", changes("acme", hand_over));
    handed.await.unwrap();
    let replace = "users: [{id: u, status: deactivated}, {id: zoe, super_admin: true}]";
    let replaced = apply_as(server, "acme", "u", changes("acme", replace));
    replaced.await.unwrap();
    assert!(pair.user("acme", "zoe").await.super_admin);
    let delete = change(wire::change::Change::DeleteUser("zoe".to_owned()));
    let gone = server.apply("acme", vec![delete]).await;
    assert_eq!(reason(gone), Reason::LastSuperAdmin);
    pair.stop().await;
}
