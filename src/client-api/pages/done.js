// Tells the client that opened this page that the stage is passed.
if (typeof window.onAuthDone === "function") {
  window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
  window.opener.postMessage("authDone", "*");
}
