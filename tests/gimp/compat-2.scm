; SPDX-License-Identifier: GPL-3.0-or-later
; What GIMP 2.10 calls differently.  compat-3.scm defines the same names.

(define GAMMA-PRECISIONS
  (list PRECISION-U8-GAMMA PRECISION-U16-GAMMA PRECISION-U32-GAMMA
        PRECISION-HALF-GAMMA PRECISION-FLOAT-GAMMA PRECISION-DOUBLE-GAMMA))

; Under another name in GIMP 3.
(define PERCEPTUAL-PRECISIONS GAMMA-PRECISIONS)

(define (layer-new image width height type)
  (car (gimp-layer-new image width height type "layer" 100 LAYER-MODE-NORMAL)))

(define (channel-new image width height)
  (car (gimp-channel-new image width height "channel" 100 '(0 0 0))))

(define (group-new image)
  (car (gimp-layer-group-new image)))

(define (floating-new layer drawable)
  (gimp-floating-sel-attach layer drawable))

; Pixels high.
(define (text-new image text size)
  (car (gimp-text-layer-new image text "DejaVu Sans" size UNIT-PIXEL)))

(define (pixels drawable load save mask)
  (plug-in-test-pixels RUN-NONINTERACTIVE drawable load save mask))

(define (denoise-to output mode image drawable noise strength steps seed model)
  (car (plug-in-diffusion-denoise mode image drawable noise strength 0 1 steps seed output model)))

(define (denoise . arguments)
  (apply denoise-to 0 arguments))

(define (denoise-too-few image drawable)
  (plug-in-diffusion-denoise RUN-NONINTERACTIVE image drawable 10 1 1))

(define (denoise-too-many image drawable)
  (plug-in-diffusion-denoise RUN-NONINTERACTIVE image drawable 10 1 0 1 1 0 0 "" 7))

; 2.10 takes one drawable: for any other number there stands an ID that none has.
(define (run-on name image drawables)
  (let ((drawable (if (= (vector-length drawables) 1) (vector-ref drawables 0) (if (= (vector-length drawables) 0) -1 999999))))
    (case name
      ((denoise) (plug-in-diffusion-denoise RUN-NONINTERACTIVE image drawable 10 1 0 1 1 0 0 ""))
      ((inpaint) (inpaint RUN-NONINTERACTIVE image drawable 2 0 1 0 0 0 -1 1 0 ""))
      ((regenerate) (regenerate RUN-NONINTERACTIVE image drawable 0.5 0.5 2 0 1 0 "")))))

(define (load-image file)
  (car (gimp-file-load RUN-NONINTERACTIVE file file)))

(define (save-image image file)
  (let ((drawable (car (gimp-image-get-active-drawable image))))
    (gimp-file-save RUN-NONINTERACTIVE image drawable file file)))

(define (active-drawable image)
  (car (gimp-image-get-active-drawable image)))

(define (layers image)
  (vector->list (cadr (gimp-image-get-layers image))))

(define (count-channels image)
  (car (gimp-image-get-channels image)))

(define (layer-mask layer)
  (car (gimp-layer-get-mask layer)))

(define (has-mask? layer)
  (>= (layer-mask layer) 0))

; sampler and output are the numbers of the choice.
; words: prompt, negative prompt, guidance, size, prediction, or nothing.
(define (words-or-none words)
  (if (null? words) (list "" "" -1 0 0) words))

(define (inpaint mode image drawable steps sampler seed context grow feather texture variants output model . words)
  (apply plug-in-diffusion-inpaint mode image drawable steps sampler seed context grow feather texture variants output model
         (words-or-none words)))

(define (regenerate mode image drawable strength structure steps sampler seed output model . words)
  (apply plug-in-diffusion-regenerate mode image drawable strength structure steps sampler seed output model
         (words-or-none words)))

(define (select-polygon image points)
  (gimp-image-select-polygon image CHANNEL-OP-REPLACE (length points) (list->vector points)))
