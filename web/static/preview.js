// Loads a page of a preview anew when another release of it is shown; the address of this script names the one it came with.
'use strict';
(seen => {
  new EventSource('/.bramble/preview').onmessage = e => { if (e.data !== seen) location.reload(); };
})(new URL(document.currentScript.src).search.slice(1));
