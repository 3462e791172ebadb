"""Settings of the service and the workers: environment variables, a secrets folder and a file, validated once, then frozen."""

from service.settings.api_keys import ApiKey, Scope
from service.settings.default_paths import default_datasets_path, default_model_path
from service.settings.settings import Settings
from service.settings.sources import warn_of_unknown_variables
from service.settings.values import ANY_HOST, ModelSource, SettingsError, TeacherEndpoint, TeacherKey, is_loopback

__all__ = [
    "ANY_HOST",
    "ApiKey",
    "ModelSource",
    "Scope",
    "Settings",
    "SettingsError",
    "TeacherEndpoint",
    "TeacherKey",
    "default_datasets_path",
    "default_model_path",
    "is_loopback",
    "warn_of_unknown_variables",
]
