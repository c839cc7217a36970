// Posts the signed message on. Without scripts the page has a button for it.
document.getElementById("respond").submit();
