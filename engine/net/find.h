/* Where models and what belongs to them are.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* A file in one of the folders that models are looked for in; a path to be freed with g_free (). */
char *find_model_file (const char *name, GError **error);
