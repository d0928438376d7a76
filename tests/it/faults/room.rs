//! The database has no room left.

use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::Code;

use super::scene::{ACCOUNT, Scene, view};
use crate::grpc::server::put_contact;

/// A small file system of its own, where this process may mount one.
struct Small(PathBuf);

impl Small {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap().keep();
        // Whoever may mount is root, and then the server runs as the user `postgres`.
        let id = |flag: &str| {
            let said = Command::new("id")
                .args([flag, "postgres"])
                .output()
                .unwrap();
            String::from_utf8(said.stdout).unwrap().trim().to_owned()
        };
        let owner = format!("size=12m,mode=700,uid={},gid={}", id("-u"), id("-g"));
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &owner, "tmpfs"])
            .arg(&place)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(place));
        }
        std::fs::remove_dir(&place).unwrap();
        None
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all the room that is left; gone again with the file.
    fn fill(&self) -> PathBuf {
        let file = self.0.join("filler");
        // Written until there is no room, which is an error of its own.
        let _full = std::fs::write(&file, vec![0_u8; 12 << 20]);
        file
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// reliability.md case 17: a write that finds no room is refused as such, nothing of it is seen in
/// the database or in memory, and reads go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_17_a_full_disk_is_told_and_survived() {
    let scene = Scene::alone().await;
    let mut sql = scene.sql().await;
    let small = Small::mount();
    let filler = match &small {
        Some(small) => {
            let directory = small.path().display();
            sql.run(&format!("CREATE TABLESPACE small LOCATION '{directory}'"))
                .await;
            sql.run("ALTER TABLE ambit.resource SET TABLESPACE small")
                .await;
            Some(small.fill())
        }
        // Where nothing can be mounted, the database is made to say what it says of a full disk.
        None => {
            println!("no file system can be mounted here: the error is raised instead");
            sql.run(
                "CREATE FUNCTION ambit.full() RETURNS trigger LANGUAGE plpgsql AS
                    'BEGIN RAISE EXCEPTION USING ERRCODE = ''disk_full''; END'",
            )
            .await;
            sql.run(
                "CREATE TRIGGER full_disk BEFORE INSERT ON ambit.resource
                    FOR EACH ROW EXECUTE FUNCTION ambit.full()",
            )
            .await;
            None
        }
    };
    // More than the pages that a table has left over.
    let many = || (0..3_000).map(|n| put_contact(&format!("n{n}"))).collect();
    let refused = scene.writer.apply(ACCOUNT, many()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(!refused.message().contains("53100"), "{refused:?}");
    assert_eq!(contacts(&scene).await, 1, "nothing of it is there");
    assert!(scene.reader.check(view()).await.unwrap());
    // What needs no room there is written: the right is taken away, and seen to be.
    for allowed in [false, true] {
        scene.toggle(&mut sql, allowed).await;
    }
    // The control: with room, the same write is taken.
    match filler {
        Some(filler) => std::fs::remove_file(filler).unwrap(),
        None => {
            sql.run("DROP TRIGGER full_disk ON ambit.resource").await;
        }
    }
    scene.writer.apply(ACCOUNT, many()).await.unwrap();
    assert_eq!(contacts(&scene).await, 3_001);
    sql.run("ALTER TABLE ambit.resource SET TABLESPACE pg_default")
        .await;
    sql.close().await;
}

async fn contacts(scene: &Scene) -> i64 {
    let mut connection =
        crate::postgres::cluster::connect(&scene.cluster.url(&scene.database)).await;
    sqlx::query_scalar("SELECT count(*) FROM ambit.resource")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}
