//! Two replicas of one database; the second one's network is late.

use std::time::Duration;

use ambit::client::{Client, Consistency, Question};

use crate::faults::replica::Replica;
use crate::postgres::cluster::{self, Cluster};
use crate::postgres::proxy::{Flow, Proxy, Which};

pub struct Pair {
    pub near: Replica,
    pub far: Replica,
    proxy: Proxy,
    _cluster: Cluster,
}

impl Pair {
    /// With the demo account.
    pub async fn start() -> Self {
        let cluster = Cluster::start();
        let url = cluster.make_database("pair");
        let near = Replica::start(&url).await;
        let proxy = Proxy::to(cluster.port()).await;
        let far = Replica::start(&cluster::url(proxy.port(), "pair")).await;
        far.until_listening().await;
        client(&near.server)
            .apply_documents(super::NORTHWIND)
            .await
            .unwrap();
        // The far one has loaded it before its network is late.
        let known = client(&far.server).with_consistency(Consistency::FullyConsistent);
        let question = Question::new("northwind", "lena", "contact", "edit").on("bosch");
        assert!(known.check(&question).await.unwrap().is_allow());
        Self {
            near,
            far,
            proxy,
            _cluster: cluster,
        }
    }

    /// From here on everything that the far one reads of the database comes so much later.
    pub fn delay(&self, late: Duration) {
        self.proxy.set(Which::All, Flow::Delay(late));
    }
}

pub fn client(url: &str) -> Client {
    Client::builder(url).build().unwrap()
}
