# Made from aio/models.py by tools/make_sync_client.py: change that.
"""The models of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from subgrpc import names
from subgrpc.client.feeds import Feed
from subgrpc.client.model_versions import ModelVersions
from subgrpc.client.modelnames import model_name, resource_name
from subgrpc.client.resume import PATIENCE
from subgrpc.v1.model_registry_service_pb2 import (
    Model,
    ModelAlias,
    ModelChange,
    ModelEvent,
    ModelVersion,
    WatchModelsResponse,
)

_PARENT = names.team_name(names.DEFAULT_TEAM)


class Models(ModelVersions):
    """The models of a server, and their versions; docs/models.md tells more.

    A model is named by its id, a version as `digits/3` or `digits@champion`; `digits@latest` is
    the one with the greatest number. Full names do as well. Each mutation carries a request id,
    your own or one that is made, so that calls are tried again where that can help.
    """

    def create(
        self,
        name: str,
        *,
        display_name: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        parent: str = _PARENT,
        request_id: str = "",
    ) -> Model:
        """Creates a model, which has no versions yet.

        Raises:
            AlreadyExists: reason MODEL_EXISTS.
        """
        model = Model(display_name=display_name, description=description, tags=tags)
        return self._calls.create_model(model, model_id=name, parent=parent, request_id=request_id)

    def get(self, name: str) -> Model:
        """Returns a model.

        Raises:
            NotFound: there is none of that name.
        """
        return self._calls.get_model(model_name(name))

    def list(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
        parent: str = _PARENT,
    ) -> Iterator[Model]:
        """Yields models, page after page as they are needed, newest first.

        Args:
            filter: such as `tags.task = ocr AND alias = champion`.
            order_by: `create_time`, `update_time` or `model_id`, and ` desc`.
            page_size: models a page: at most 1000; 0: 50.
            parent: the team.

        Raises:
            InvalidArgument: the filter or the order cannot be read.
        """
        return self._calls.list_models(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )

    def update(
        self,
        name: str,
        *,
        display_name: str | None = None,
        description: str | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Model:
        """Replaces a model's display name, its description, or both; None leaves it alone.

        Raises:
            NotFound: there is none of that name.
            Aborted: reason ETAG_MISMATCH: its etag is not `etag` any more.
        """
        given = {"display_name": display_name, "description": description}
        paths = [key for key, value in given.items() if value is not None]
        if not paths:
            return self.get(name)
        model = Model(name=model_name(name), etag=etag)
        model.display_name, model.description = display_name or "", description or ""
        return self._calls.update_model(model, paths, request_id=request_id)

    def tag(
        self,
        name: str,
        tags: Mapping[str, str | None],
        *,
        etag: str = "",
        request_id: str = "",
    ) -> Model | ModelVersion:
        """Sets tags of a model, or of a version, and removes those that are None.

        Other tags stay, also if somebody changes them at the same time.

        Raises:
            NotFound: there is none of that name.
            Aborted: reason ETAG_MISMATCH: its etag is not `etag` any more.
        """
        full = resource_name(name)
        kept = {key: value for key, value in tags.items() if value is not None}
        paths = [f"tags.{key}" for key in tags]
        if names.match(full, "teams/*/models/*") is not None:
            if not paths:
                return self.get(full)
            model = Model(name=full, etag=etag, tags=kept)
            return self._calls.update_model(model, paths, request_id=request_id)
        full = self._version(full)
        if not paths:
            return self.version(full)
        version = ModelVersion(name=full, etag=etag, tags=kept)
        return self._calls.update_model_version(version, paths, request_id=request_id)

    def set_alias(
        self,
        name: str,
        alias: str,
        number: int,
        *,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> ModelAlias:
        """Has an alias of a model refer to one of its versions.

        Raises:
            NotFound: there is no such model or version.
            Aborted: reason ETAG_MISMATCH: the model's etag is not `etag` any more.
        """
        return self._calls.set_model_alias(
            _alias(name, alias), number, message=message, etag=etag, request_id=request_id
        )

    def remove_alias(
        self,
        name: str,
        alias: str,
        *,
        allow_missing: bool = False,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> None:
        """Removes an alias; rollbacks never lead back behind that.

        Raises:
            NotFound: there is none, and `allow_missing` is not set.
        """
        self._calls.delete_model_alias(
            _alias(name, alias),
            allow_missing=allow_missing,
            message=message,
            etag=etag,
            request_id=request_id,
        )

    def rollback(
        self, name: str, alias: str, *, message: str = "", etag: str = "", request_id: str = ""
    ) -> ModelAlias:
        """Has an alias refer to what it did before it was last set; once more: one step further.

        Raises:
            NotFound: there is no such alias.
            FailedPrecondition: reason NOTHING_TO_ROLL_BACK, or ROLLBACK_TARGET_DELETED.
        """
        return self._calls.rollback_model_alias(
            _alias(name, alias), message=message, etag=etag, request_id=request_id
        )

    def history(
        self,
        name: str,
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
    ) -> Iterator[ModelEvent]:
        """Yields who changed what of a model, when and why, oldest first.

        Args:
            name: the model.
            filter: such as `alias = champion`.
            order_by: `sequence`, or `sequence desc`.

        Raises:
            NotFound: there is none of that name.
        """
        return self._calls.list_model_history(
            model_name(name), filter=filter, order_by=order_by, page_size=1000
        )

    def watch(
        self,
        *,
        filter: str = "",  # noqa: A002
        resume_token: str = "",
        patience: float = PATIENCE,
        parent: str = _PARENT,
    ) -> Feed[WatchModelsResponse, ModelChange]:
        """Yields models and versions that match a filter, then every change in commit order.

        It goes on over lost connections and restarted servers, without a change lost or doubled.

        Args:
            filter: over the fields of models and versions, and `kind`: MODEL or VERSION.
            resume_token: the `resume_token` of an earlier watch with the same filter.
            patience: seconds for which it tries to reach a server again.
            parent: the team.

        Raises:
            OutOfRange: reason RESUME_TOKEN_EXPIRED, while iterating: it was away for longer than
                changes are kept (a day). Start again without a token.
            Unavailable: while iterating: no server could be reached for `patience`.
        """
        frames = self._calls.watch_models(
            parent=parent, filter=filter, resume_token=resume_token, patience=patience
        )
        return Feed(frames, _change)

    def delete(
        self,
        name: str,
        *,
        force: bool = False,
        allow_missing: bool = False,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> None:
        """Deletes a version, or a model with its history, for good; artifacts stay.

        Args:
            name: the model or version.
            force: a model with its versions; a version that is in use.
            allow_missing: no error if there is none.
            message: of a version: why, for the history.
            etag: that it must still have.
            request_id: makes a repeat harmless.

        Raises:
            NotFound: there is none.
            FailedPrecondition: reason MODEL_HAS_VERSIONS, or MODEL_VERSION_IN_USE.
        """
        full = resource_name(name)
        if names.match(full, "teams/*/models/*") is not None:
            self._calls.delete_model(
                full, force=force, allow_missing=allow_missing, etag=etag, request_id=request_id
            )
            return
        self._calls.delete_model_version(
            self._version(full),
            force=force,
            allow_missing=allow_missing,
            message=message,
            etag=etag,
            request_id=request_id,
        )


def _alias(name: str, alias: str) -> str:
    return f"{model_name(name)}/aliases/{alias}"


def _change(frame: WatchModelsResponse) -> ModelChange | None:
    return frame.change if frame.WhichOneof("frame") == "change" else None
