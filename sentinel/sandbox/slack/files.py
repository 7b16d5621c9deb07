"""Files of the double: a place for bytes, the bytes, and a message that shows them, in Slack's three steps.

docs.slack.dev/reference/methods: files.getUploadURLExternal, files.completeUploadExternal.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sentinel.sandbox.slack.workspace import File, Workspace

_PNG = b"\x89PNG\r\n\x1a\n"
_LONGEST = 1024 * 1024


class _Named(msgspec.Struct):
    id: str
    title: str = ""


def begin(workspace: Workspace, filename: str, length: str) -> File | str:
    """A place for a file, or Slack's code for why not."""
    if not filename or not length.isascii() or not length.isdigit() or not 0 < int(length) <= _LONGEST:
        return "invalid_arguments"
    made = File(id=f"F0{len(workspace.files) + 1:06d}", length=int(length))
    workspace.files[made.id] = made
    return made


def complete(workspace: Workspace, files: str, channel: str, thread_ts: str | None) -> list[File] | str:
    """Show files that were sent whole in a channel or a thread, or Slack's code for why not."""
    try:
        named = msgspec.json.decode(files, type=list[_Named])
    except msgspec.DecodeError:
        return "invalid_arguments"
    found = [workspace.files.get(each.id) for each in named]
    sent = [each for each in found if each is not None and len(each.content) == each.length]
    if not sent or len(sent) != len(named):
        return "file_not_found"
    if thread_ts and workspace.message(channel, thread_ts) is None:
        return "thread_not_found"
    for each, name in zip(sent, named, strict=True):
        each.title = name.title
        workspace.post(channel, name.title, [], thread_ts=thread_ts).file = each.id
    return sent


class Uploads:
    """The address that bytes are sent to, and the one from which the page shows them."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def take(self, request: Request) -> Response:
        """POST /upload/{file}: the bytes, as many as were announced."""
        file = self._workspace.files.get(request.path_params["file"])
        body = await request.body()
        if file is None or len(body) != file.length:
            return PlainTextResponse("not the file that was announced", 400)
        file.content = body
        return PlainTextResponse(f"OK - {len(body)}")

    async def show(self, request: Request) -> Response:
        """GET /_control/files/{file}: a picture, and nothing that is not one."""
        file = self._workspace.files.get(request.path_params["file"])
        if file is None or not file.content.startswith(_PNG):
            return PlainTextResponse("no picture", 404)
        return Response(file.content, media_type="image/png", headers={"X-Content-Type-Options": "nosniff"})
