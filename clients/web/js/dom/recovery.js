/** Retries of failed views when the server responds again. The frame polls the server and announces both events. */

/** Statuses of a server that is gone, starting, or restarting its engine. */
const UNREACHABLE = [0, 502, 503];

/** Lets the frame check the server now, and calls `retry` once it is ready, if `element` is still shown by then. */
export function retryWhenReady(error, element, retry) {
  if (!UNREACHABLE.includes(error.status)) return;
  const onReady = () => element.isConnected && retry();
  document.addEventListener("serverready", onReady, { once: true });
  document.dispatchEvent(new CustomEvent("serverlost"));
}

/** Announces that a server that did not respond is ready again. */
export function announceReady() {
  document.dispatchEvent(new CustomEvent("serverready"));
}
