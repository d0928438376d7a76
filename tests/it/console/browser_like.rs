//! A browser without a screen: sends what one would send, and keeps what one would keep.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Where it was asked.
    pub url: Url,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "`{name}` comes twice: {self:#?}");
        value
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// Says so, as text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.text().contains(text),
            "`{text}` is not in\n{}",
            self.body
        );
        self
    }

    /// The body without its marks, in one line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let (head, after) = self.body.split_once("<style>").unwrap_or_default();
        let (_, after) = after.split_once("</style>").unwrap_or_default();
        let body = format!("{head}{after}");
        let mut rest = body.as_str();
        while let Some((before, from)) = rest.split_once('<') {
            text.push_str(before);
            // What stands between blocks is no part of a sentence.
            let (tag, after) = from.split_once('>').unwrap();
            if !["bdi", "/bdi", "time", "/time", "span", "/span"]
                .contains(&tag.split(' ').next().unwrap())
            {
                text.push(' ');
            }
            rest = after;
        }
        text.push_str(rest);
        let text = unescaped(&text);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The values of an attribute of all tags of a name.
    pub fn attributes(&self, tag: &str, attribute: &str) -> Vec<String> {
        let begin = format!("<{tag} ");
        let found = self.body.split(&begin).skip(1);
        found
            .filter_map(|rest| {
                let tag = rest.split_once('>').unwrap().0;
                let (_, value) = tag.split_once(&format!("{attribute}=\""))?;
                Some(unescaped(value.split_once('"').unwrap().0))
            })
            .collect()
    }

    /// The fields of the form whose hidden `do` (or button) says so, as a browser would send them
    /// untouched; radio buttons and selections as they are set.
    pub fn form(&self, what: &str) -> Form {
        for form in self.body.split("<form ").skip(1) {
            let form = form.split_once("</form>").unwrap().0;
            let mut fields = BTreeMap::new();
            for tag in ["input", "button"] {
                for input in form.split(&format!("<{tag} ")).skip(1) {
                    let input = input.split_once('>').unwrap().0;
                    let value = |name: &str| {
                        let (_, value) = input.split_once(&format!("{name}=\""))?;
                        Some(unescaped(value.split_once('"').unwrap().0))
                    };
                    let is_off = input.contains("type=\"radio\"") && !input.contains(" checked");
                    if let (Some(name), false) = (value("name"), is_off) {
                        fields.insert(name, value("value").unwrap_or_default());
                    }
                }
            }
            if let Some((_, select)) = form.split_once("<select ")
                && let Some((before, _)) = select.split_once("\" selected")
            {
                let value = before.rsplit_once('"').unwrap().1;
                fields.insert("unit".to_owned(), value.to_owned());
            }
            if fields.get("do").map(String::as_str) == Some(what) {
                let action = form.split_once("action=\"").unwrap().1;
                let action = unescaped(action.split_once('"').unwrap().0);
                return Form {
                    url: self.url.join(&action).unwrap(),
                    fields,
                };
            }
        }
        panic!("no form to {what} in\n{}", self.body);
    }

    pub fn has_form(&self, what: &str) -> bool {
        self.body.contains(&format!("value=\"{what}\""))
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

/// A form to be sent.
#[derive(Debug, Clone)]
pub struct Form {
    pub url: Url,
    pub fields: BTreeMap<String, String>,
}

impl Form {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.remove(name);
        self
    }

    pub fn body(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.fields)
            .finish()
    }
}

/// Asks one server, and keeps its cookies.
#[derive(Debug, Clone)]
pub struct Browser {
    pub server: SocketAddr,
    pub language: &'static str,
    /// By name, with the path that each is for.
    pub cookies: BTreeMap<String, (String, String)>,
}

impl Browser {
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            language: "en",
            cookies: BTreeMap::new(),
        }
    }

    /// An address of the server: absolute, or its path.
    pub fn url(&self, url: &str) -> Url {
        let base = Url::parse(&format!("http://{}", self.server)).unwrap();
        let mut url = base.join(url).unwrap();
        // A link names the server that it was made by; any replica may be asked.
        url.set_port(Some(self.server.port())).unwrap();
        url
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send("GET", self.url(url), &[], "").await
    }

    /// Sends a form as a browser does from a page of ours, and keeps the cookie.
    pub async fn post(&mut self, form: &Form) -> Answer {
        let headers = [("sec-fetch-site", "same-origin"), ("origin", "null")];
        self.post_with(form, &headers).await
    }

    pub async fn post_with(&mut self, form: &Form, headers: &[(&str, &str)]) -> Answer {
        let form_type = ("content-type", "application/x-www-form-urlencoded");
        let headers: Vec<_> = headers.iter().copied().chain([form_type]).collect();
        let url = self.url(form.url.as_str());
        let answer = self.send("POST", url, &headers, &form.body()).await;
        self.keep(&answer);
        answer
    }

    /// Sends a form and goes where the answer leads.
    pub async fn submit(&mut self, form: &Form) -> Answer {
        let answer = self.post(form).await.is(303);
        let there = answer.url.join(answer.header("location").unwrap()).unwrap();
        self.get(there.as_str()).await
    }

    fn keep(&mut self, answer: &Answer) {
        let Some(cookie) = answer.header("set-cookie") else {
            return;
        };
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        let path = attributes
            .split("; ")
            .find_map(|attribute| attribute.strip_prefix("Path="))
            .unwrap();
        if attributes.contains("Max-Age=0") {
            self.cookies.remove(name);
        } else {
            let cookie = (value.to_owned(), path.to_owned());
            self.cookies.insert(name.to_owned(), cookie);
        }
    }

    pub async fn send(
        &self,
        method: &str,
        url: Url,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = TcpStream::connect(self.server).await.unwrap();
        let mut target = url.path().to_owned();
        if let Some(query) = url.query() {
            target.push('?');
            target.push_str(query);
        }
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\naccept-language: {}\r\ncontent-length: {}\r\n",
            self.server,
            self.language,
            body.len()
        );
        for (name, (value, path)) in &self.cookies {
            // RFC 6265, 5.1.4.
            if url.path() == path || url.path().starts_with(&format!("{path}/")) {
                request.push_str(&format!("cookie: {name}={value}\r\n"));
            }
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that has heard enough may close before all is sent.
        let _sent = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _read = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer to {method} {url}: {answer}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Answer {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| {
                    let (name, value) = line.split_once(": ").unwrap();
                    (name.to_lowercase(), value.to_owned())
                })
                .collect(),
            body: body.to_owned(),
            url,
        }
    }
}
