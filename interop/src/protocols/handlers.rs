//! The endpoints of the "Protocols" page.

#[path = "../../../sse-runtime/docs/protocols/a2a.rs"]
pub(super) mod a2a;
#[path = "../../../sse-runtime/docs/protocols/ag_ui.rs"]
pub(super) mod ag_ui;
#[path = "../../../sse-runtime/docs/protocols/ai_sdk.rs"]
pub(super) mod ai_sdk;
#[path = "../../../sse-runtime/docs/protocols/anthropic.rs"]
pub(super) mod anthropic;
#[path = "../../../sse-runtime/docs/protocols/datastar.rs"]
pub(super) mod datastar;
#[path = "../../../sse-runtime/docs/protocols/htmx.rs"]
pub(super) mod htmx;
#[path = "../../../sse-runtime/docs/protocols/mcp_2025_11_25.rs"]
pub(super) mod mcp_2025_11_25;
#[path = "../../../sse-runtime/docs/protocols/mcp_2026_07_28.rs"]
pub(super) mod mcp_2026_07_28;
#[path = "../../../sse-runtime/docs/protocols/model.rs"]
pub(super) mod model;
#[path = "../../../sse-runtime/docs/protocols/openai_chat.rs"]
pub(super) mod openai_chat;
#[path = "../../../sse-runtime/docs/protocols/openai_responses.rs"]
pub(super) mod openai_responses;
#[path = "../../../sse-runtime/docs/protocols/turbo.rs"]
pub(super) mod turbo;
