"""Where the commands of a call are served."""

CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ab"
CONNECT = f"/api/v1/interactions/{CALL_ID}/connect"
VIDEO = f"/api/v1/interactions/{CALL_ID}/video-request"
CALL = f"/api/v1/interactions/{CALL_ID}"
OTHER_CALL_ID = "0192f0c1-2345-7abc-8def-0123456789ac"
