//! Agents as models: an agent's id is a model's.

use super::super::Gateway;
use super::super::conn::ConnId;
use super::super::fact::Why;
use super::super::http::{HttpAnswer, unescape};
use super::super::json::Object;
use super::super::methods;
use super::super::refusal::cut;
use super::super::send::Cx;
use super::super::{cors, upload};
use super::error::ApiError;
use crate::upgrade::RequestHead;
use std::sync::Arc;

/// What clients of this and other gateways put in front of an agent's id.
const PREFIXES: [&str; 6] =
    ["moorline/", "moorline:", "openclaw/", "openclaw:", "goclaw:", "agent:"];

/// What stands for the agent of the session, or else the default one.
const DEFAULTS: [&str; 3] = ["default", "moorline", "openclaw"];

impl Gateway {
    /// The agent that a model is; none: whichever the session has, or the default one.
    pub(super) fn agent_of_model(&self, model: &str) -> Result<Option<Arc<str>>, ApiError> {
        let known = |id: &str| self.config.agent(id).map(|agent| Arc::from(agent.id.as_str()));
        // An agent may be called as another is with its prefix.
        if let Some(agent) = known(model) {
            return Ok(Some(agent));
        }
        let bare = PREFIXES.iter().find_map(|prefix| model.strip_prefix(prefix));
        let id = bare.unwrap_or(model);
        match known(id) {
            Some(agent) => Ok(Some(agent)),
            None if DEFAULTS.contains(&id) => Ok(None),
            None => {
                let text = format!(
                    "the model {} does not exist: GET {} lists those there are",
                    cut(model, 128),
                    super::MODELS
                );
                Err(ApiError::new(404, Why::NotFound, text).code("model_not_found"))
            }
        }
    }

    /// `GET /v1/models`, or one of them.
    pub(super) fn models_page(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
        id: Option<&str>,
    ) -> Result<(), ApiError> {
        let (who, _) = self.authenticate_api(cx, conn, head)?;
        let method = methods::find("agents.list").map_or(1, |method| method.cost);
        self.charge(cx, conn, "models", method, &who)
            .map_err(|refusal| ApiError::from(upload::limited(&refusal)))?;
        let mut body = String::new();
        match id {
            None => Object::new(&mut body)
                .str("object", "list")
                .list("data", &self.config.raw.agents, |out, agent| {
                    self.write_model(out, &agent.id);
                })
                .end(),
            Some(id) => {
                let agent = self.agent_of_model(&unescape(id))?;
                let default = &self.config.raw.agents[0].id;
                self.write_model(&mut body, agent.as_deref().unwrap_or(default));
            }
        }
        self.respond(cx, conn, HttpAnswer::json(200, body).readable_by(cors::origin(head)));
        Ok(())
    }

    fn write_model(&self, out: &mut String, id: &str) {
        // Agents have no date of their own: it is that of the gateway.
        Object::new(out)
            .str("id", id)
            .str("object", "model")
            .num("created", self.ms(self.start) / 1000)
            .str("owned_by", "moorline")
            .end();
    }
}
