; SPDX-License-Identifier: GPL-3.0-or-later
; What GIMP 3 calls differently.  compat-2.scm defines the same names.

(define GAMMA-PRECISIONS
  (list PRECISION-U8-NON-LINEAR PRECISION-U16-NON-LINEAR PRECISION-U32-NON-LINEAR
        PRECISION-HALF-NON-LINEAR PRECISION-FLOAT-NON-LINEAR PRECISION-DOUBLE-NON-LINEAR))

(define PERCEPTUAL-PRECISIONS
  (list PRECISION-U8-PERCEPTUAL PRECISION-U16-PERCEPTUAL PRECISION-U32-PERCEPTUAL
        PRECISION-HALF-PERCEPTUAL PRECISION-FLOAT-PERCEPTUAL PRECISION-DOUBLE-PERCEPTUAL))

(define (layer-new image width height type)
  (car (gimp-layer-new image "layer" width height type 100 LAYER-MODE-NORMAL)))

(define (channel-new image width height)
  (car (gimp-channel-new image "channel" width height 100 '(0 0 0))))

(define (group-new image)
  (car (gimp-group-layer-new image "group")))

(define (floating-new layer drawable)
  (gimp-floating-sel-attach layer drawable))

; Pixels high.
(define (text-new image text size)
  (car (gimp-text-layer-new image text (car (gimp-context-get-font)) size UNIT-PIXEL)))

(define (pixels drawable load save mask)
  (plug-in-test-pixels #:drawable drawable #:load load #:save save #:mask mask))

(define (denoise-to output mode image drawable noise strength steps seed model)
  (car (plug-in-diffusion-denoise #:run-mode mode #:image image #:drawables (vector drawable)
                                  #:noise noise #:strength strength #:detail 0 #:colour 1
                                  #:steps steps #:seed seed #:output (output-name output) #:model model)))

(define (denoise . arguments)
  (apply denoise-to 0 arguments))

(define (denoise-too-few image drawable)
  (plug-in-diffusion-denoise #:run-mode RUN-NONINTERACTIVE #:image image #:drawables (vector)))

(define (denoise-too-many image drawable)
  (plug-in-diffusion-denoise #:run-mode RUN-NONINTERACTIVE #:image image #:drawables (vector drawable) #:nothing 7))

; On drawables of any number; inpainting does not grow its hole.
(define (run-on name image drawables)
  (case name
    ((denoise) (plug-in-diffusion-denoise #:run-mode RUN-NONINTERACTIVE #:image image #:drawables drawables))
    ((inpaint) (plug-in-diffusion-inpaint #:run-mode RUN-NONINTERACTIVE #:image image #:drawables drawables #:grow 0 #:feather 0))
    ((regenerate) (plug-in-diffusion-regenerate #:run-mode RUN-NONINTERACTIVE #:image image #:drawables drawables))))

(define (load-image file)
  (car (gimp-file-load RUN-NONINTERACTIVE file)))

(define (save-image image file)
  (gimp-file-save RUN-NONINTERACTIVE image file -1))

(define (active-drawable image)
  (vector-ref (car (gimp-image-get-selected-drawables image)) 0))

(define (layers image)
  (vector->list (car (gimp-image-get-layers image))))

(define (count-channels image)
  (vector-length (car (gimp-image-get-channels image))))

(define (layer-mask layer)
  (car (gimp-layer-get-mask layer)))

(define (has-mask? layer)
  (>= (layer-mask layer) 0))

(define (choose names number)
  (if (< number (length names)) (list-ref names number) "no such choice"))

(define (sampler-name number)
  (choose '("ddpm" "ddim" "dpm++2m" "euler" "euler-a" "lcm" "auto") number))

(define (output-name number)
  (choose '("in-place" "new-layer") number))

(define (prediction-name number)
  (choose '("auto" "epsilon" "v") number))

; words: prompt, negative prompt, guidance, size, prediction, or nothing: then these are left out, as a caller may.
(define (inpaint mode image drawable steps sampler seed context grow feather texture variants output model . words)
  (if (null? words)
      (plug-in-diffusion-inpaint #:run-mode mode #:image image #:drawables (vector drawable)
                                 #:steps steps #:sampler (sampler-name sampler) #:seed seed #:context context
                                 #:grow grow #:feather feather #:texture texture #:variants variants
                                 #:output (output-name output) #:model model)
      (plug-in-diffusion-inpaint #:run-mode mode #:image image #:drawables (vector drawable)
                                 #:steps steps #:sampler (sampler-name sampler) #:seed seed #:context context
                                 #:grow grow #:feather feather #:texture texture #:variants variants
                                 #:output (output-name output) #:model model
                                 #:prompt (car words) #:negative-prompt (cadr words)
                                 #:guidance (list-ref words 2) #:size (list-ref words 3)
                                 #:prediction (prediction-name (list-ref words 4)))))

(define (regenerate mode image drawable strength structure steps sampler seed output model . words)
  (if (null? words)
      (plug-in-diffusion-regenerate #:run-mode mode #:image image #:drawables (vector drawable)
                                    #:strength strength #:structure structure #:steps steps
                                    #:sampler (sampler-name sampler) #:seed seed #:output (output-name output)
                                    #:model model)
      (plug-in-diffusion-regenerate #:run-mode mode #:image image #:drawables (vector drawable)
                                    #:strength strength #:structure structure #:steps steps
                                    #:sampler (sampler-name sampler) #:seed seed #:output (output-name output)
                                    #:model model
                                    #:prompt (car words) #:negative-prompt (cadr words)
                                    #:guidance (list-ref words 2) #:size (list-ref words 3)
                                    #:prediction (prediction-name (list-ref words 4)))))

(define (select-polygon image points)
  (gimp-image-select-polygon image CHANNEL-OP-REPLACE (list->vector points)))
