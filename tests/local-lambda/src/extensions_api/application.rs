//! The contents of a registration.

use serde::Deserialize;

use crate::event_type::EventType;
use crate::extension::Kind;
use crate::http::Request;
use crate::reply::Reply;

pub struct Application {
    pub name: String,
    pub kind: Kind,
    pub events: Vec<EventType>,
    pub with_account: bool,
}

/// Which extensions are external. All others are internal.
pub enum Externals {
    Anyone,
    /// The names of the files in `/opt/extensions`.
    Named(Vec<String>),
}

impl Application {
    /// Parses a registration, or refuses it for a reason that does not depend on the state of the extensions.
    pub fn of(
        request: &Request,
        externals: &Externals,
        managed_instances: bool,
    ) -> Result<Self, Reply> {
        let name = match request.header("Lambda-Extension-Name") {
            None | Some("") => {
                let message = "Empty extension name";
                return Err(Reply::refusal("Extension.InvalidExtensionName", message));
            }
            Some(name) => name.to_owned(),
        };
        let kind = externals.kind_of(&name);
        let events = asked_events(&request.body)
            .map_err(|message| Reply::refusal("InvalidRequestFormat", &message))?
            .iter()
            .map(|event| admitted(kind, managed_instances, event))
            .collect::<Result<_, _>>()
            .map_err(|message| Reply::refusal("Extension.InvalidEventType", &message))?;
        Ok(Self { name, kind, events, with_account: asks_for_account(request) })
    }
}

impl Externals {
    fn kind_of(&self, name: &str) -> Kind {
        match self {
            Self::Named(names) if !names.iter().any(|it| it == name) => Kind::Internal,
            _ => Kind::External,
        }
    }
}

/// The event with this name, or the reason of the refusal.
fn admitted(kind: Kind, managed_instances: bool, event: &str) -> Result<EventType, String> {
    match (kind, managed_instances, EventType::of(event)) {
        (Kind::External, _, Some(shutdown @ EventType::Shutdown)) => Ok(shutdown),
        (_, false, Some(invoke @ EventType::Invoke)) => Ok(invoke),
        (Kind::Internal, true, _) => Err("No events allowed for internal extensions".to_owned()),
        (Kind::Internal, false, Some(EventType::Shutdown)) => {
            Err(format!("{event}: ShutdownEventNotSupportedForInternalExtension"))
        }
        _ => Err(format!("{event}: ErrorInvalidEventType")),
    }
}

fn asked_events(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        events: Option<Vec<String>>,
        configuration_keys: Option<Vec<String>>,
    }
    if body.is_empty() {
        return Err("unexpected end of JSON input".to_owned());
    }
    let asked: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if asked.configuration_keys.is_some_and(|keys| !keys.is_empty()) {
        return Err(
            "configurationKeys are deprecated; use environment variables instead".to_owned()
        );
    }
    Ok(asked.events.unwrap_or_default())
}

fn asks_for_account(request: &Request) -> bool {
    let features = request.header("Lambda-Extension-Accept-Feature").unwrap_or_default();
    features.split(',').any(|feature| feature.trim() == "accountId")
}
