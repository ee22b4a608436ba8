; SPDX-License-Identifier: GPL-3.0-or-later
; Helpers of all test scripts.  compat-N.scm is loaded before; log-file is defined before.

(define log-port (open-output-file log-file))

(define (log . values)
  (for-each (lambda (value) (display value log-port) (display "\t" log-port)) values)
  (newline log-port))

; What the error hook is given is the only place where a plug-in's own sentence can be seen.
(define last-error "")
(define plain-error-hook *error-hook*)
(set! *error-hook* (lambda arguments (set! last-error arguments) (apply plain-error-hook arguments)))

(define (attempt name thunk)
  (set! last-error "")
  (let ((result (catch 'failed (thunk))))
    (if (eq? result 'failed)
        (log name "ERROR" last-error)
        (log name "OK" result))))

(define LINEAR-PRECISIONS
  (list PRECISION-U8-LINEAR PRECISION-U16-LINEAR PRECISION-U32-LINEAR
        PRECISION-HALF-LINEAR PRECISION-FLOAT-LINEAR PRECISION-DOUBLE-LINEAR))

; curve: 0 gamma, 1 linear, 2 perceptual; precision: 0 ... 5
(define (image-new width height base curve precision)
  (car (gimp-image-new-with-precision
        width height base
        (list-ref (list-ref (list GAMMA-PRECISIONS LINEAR-PRECISIONS PERCEPTUAL-PRECISIONS) curve) precision))))

(define (layer-add image width height type x y)
  (let ((layer (layer-new image width height type)))
    (gimp-image-insert-layer image layer 0 0)
    (gimp-layer-set-offsets layer x y)
    layer))

; Runs the filter, then saves what the drawable and the selection hold and removes the image, whether or not the filter
; failed.
(define (run-case name image get-drawable out mask thunk)
  (attempt name thunk)
  (pixels (get-drawable) "" out mask)
  (gimp-image-delete image))

; The layers from the top: name, whether it is visible, whether it has a layer mask.
(define (describe image)
  (map (lambda (layer)
         (list (car (gimp-item-get-name layer)) (car (gimp-item-get-visible layer)) (if (has-mask? layer) 1 0)))
       (layers image)))

; What the image looks like.
(define (save-visible image file)
  (let ((layer (car (gimp-layer-new-from-visible image image "visible"))))
    (gimp-image-insert-layer image layer 0 0)
    (pixels layer "" file "")
    (gimp-image-remove-layer image layer)))

; Waits until the driver has made the file.
(define (wait-for file)
  (if (not (file-exists? file))
      (begin (usleep 20000) (wait-for file))))

(define (end)
  (log "END")
  (close-output-port log-port))
