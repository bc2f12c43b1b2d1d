"""The named services of the API, wired from the recording domain."""
